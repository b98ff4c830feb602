"""Preprocess the maps of several raters as the images are, into the folder ``<data_identifier>_raters``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.preprocessed.data_beside import preprocess_beside
from nnunet_ext.errors import UserError, more
from nnunet_ext.labels.raters.preprocessed_raters import IMAGES, RaterData, recorded_raters
from nnunet_ext.labels.raters.raw_raters import RatedCase, check_raters, find_raters, has_raters, names_of

logger = logging.getLogger(__name__)


def preprocess_raters(
    raw_folder: Path,
    preprocessed_folder: Path,
    plans: Mapping[str, Any],
    *configurations: str,
    processes: int = 1,
    progress: bool = True,
    again: bool = False,
    check: bool = True,
    stock_resampling: bool = False,
    say: Callable[[str], object] = logger.info,
) -> None:
    """Preprocess what is missing of a dataset's raters; remove cases that are gone.

    Args:
        raw_folder: The dataset's folder in nnUNet_raw.
        preprocessed_folder: Its folder in nnUNet_preprocessed.
        plans: Its plans.
        *configurations: Names of configurations; those that share their data are one.
        processes: Worker processes; 1 stays in this process.
        progress: Show progress bars.
        again: Also preprocess existing data.
        check: Read all maps first.
        stock_resampling: Resample with nnU-Net's functions, which take longer and have the same results.
        say: Called with one line for each configuration, which says who resamples.

    Raises:
        UserError: Maps are missing or wrong; their folder holds something else; a process trains on them; or a worker
            was killed: cases done by then are kept.
    """
    cases = find_raters(raw_folder)
    raters = tuple(names_of(cases))
    preprocess_beside(
        [RaterData(preprocessed_folder, plans, name, stock_resampling, raters) for name in configurations],
        cases,
        check=partial(check_raters, raw_folder, plans=plans, show_progress=progress) if check else None,
        described=f"maps of {len(raters)} rater{'s' * (len(raters) > 1)}:",
        purpose="seg",
        processes=processes,
        progress=progress,
        again=again,
        say=say,
    )


def check_preprocessed_raters(
    preprocessed_folder: Path, plans: Mapping[str, Any], configuration: str, raw_folder: Path | None = None
) -> dict[str, tuple[str, ...]]:
    """Return {case: its raters}; a case that nobody rated has none.

    Args:
        preprocessed_folder: The dataset's folder in nnUNet_preprocessed.
        plans: The plans.
        configuration: Name of the configuration.
        raw_folder: The dataset's folder in nnUNet_raw. If it has raters, they must be the same, and unchanged.

    Raises:
        UserError: They were never preprocessed, only partly, or with other plans, or their files were changed.
    """
    data = RaterData(preprocessed_folder, plans, configuration)
    problem = data.marker.problem(data.digest) or _difference(data, raw_folder)
    if problem is not None:
        raise UserError(
            f"{data.place}: expected preprocessed maps of several raters for plans {plans['plans_name']!r}, {problem}. "
            f"Put them into labelsTr_raters/RATER and run nnunet_ext preprocess_raters -d "
            f"{dataset_number(plans['dataset_name'])} -p {plans['plans_name']} -c {configuration}"
        )
    return {
        case: tuple(sorted(name for name in recorded if name != IMAGES))
        for case, recorded in data.marker.sources().items()
    }


def raters_folder(preprocessed_folder: Path, plans: Mapping[str, Any], configuration: str) -> Path:
    """Return the folder of the preprocessed maps; :func:`check_preprocessed_raters` says whether they are there."""
    return RaterData(preprocessed_folder, plans, configuration).place


def preprocessed_raters(preprocessed_folder: Path, plans: Mapping[str, Any], configuration: str) -> tuple[str, ...]:
    """Return the names of the raters, in the order of the channels; none if none were preprocessed."""
    return recorded_raters(RaterData(preprocessed_folder, plans, configuration))


def _difference(data: RaterData, raw_folder: Path | None) -> str | None:
    if raw_folder is None or not has_raters(raw_folder) or not (raw_folder / "dataset.json").is_file():
        return None
    cases: dict[str, RatedCase] = {case.name: case for case in find_raters(raw_folder)}
    sources = data.marker.sources()
    if different := sorted(cases.keys() ^ sources.keys()):
        where = "without" if different[0] in cases else "with"
        return f"found them {where} case {different[0]!r}, unlike {raw_folder}{more(len(different) - 1)}"
    changed = [data.changed(case, sources[name]) for name, case in cases.items()]
    if files := [file for file in changed if file is not None]:
        return f"found them from before {files[0]} was changed, added or removed{more(len(files) - 1, 'file')}"
    return None
