"""Preprocess unlabelled images with the plans of the labelled ones, into a separate folder.

nnU-Net trains on every case in its data folder and would treat a case without a label as background only. So these are
stored beside it, in ``<data_identifier>_unlabelled`` (:mod:`nnunet_ext.data.preprocessed.data_beside`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.preprocessed.data_beside import preprocess_beside
from nnunet_ext.errors import UserError, more
from nnunet_ext.semi_supervised.preprocessed_images import UnlabelledData
from nnunet_ext.semi_supervised.raw_images import check_images_un, find_unlabelled, has_unlabelled, unlabelled_names

logger = logging.getLogger(__name__)


def preprocess_unlabelled(
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
    """Preprocess what is missing of a dataset's unlabelled images; remove cases whose images are gone.

    Second stages of a cascade are skipped.

    Args:
        raw_folder: The dataset's folder in nnUNet_raw.
        preprocessed_folder: Its folder in nnUNet_preprocessed.
        plans: Its plans.
        *configurations: Names of configurations.
        processes: Worker processes; 1 stays in this process.
        progress: Show progress bars.
        again: Also preprocess existing data.
        check: Read all images first.
        stock_resampling: Resample with nnU-Net's functions, which take longer and have the same results.
        say: Called with one line for each configuration, which says who resamples.

    Raises:
        UserError: Images are missing or wrong; their folder holds something else; a process trains on them; or a worker
            was killed: cases done by then are kept.
    """
    cases = find_unlabelled(raw_folder)
    places = (UnlabelledData(preprocessed_folder, plans, name, stock_resampling) for name in configurations)
    preprocess_beside(
        [data for data in places if not data.is_cascade],
        cases,
        check=partial(check_images_un, raw_folder, plans=plans, show_progress=progress) if check else None,
        described="unlabelled",
        purpose="data",
        processes=processes,
        progress=progress,
        again=again,
        say=say,
    )


def check_unlabelled(
    preprocessed_folder: Path, plans: Mapping[str, Any], configuration: str, raw_folder: Path | None = None
) -> list[str]:
    """Return the names of the preprocessed unlabelled cases.

    Args:
        preprocessed_folder: The dataset's folder in nnUNet_preprocessed.
        plans: The plans.
        configuration: Name of the configuration.
        raw_folder: The dataset's folder in nnUNet_raw. If it has unlabelled images, these must be the same cases, and
            unchanged.

    Raises:
        UserError: They were never preprocessed, only partly, or with other plans, or their files were changed.
    """
    data = UnlabelledData(preprocessed_folder, plans, configuration)
    problem = data.marker.problem(data.digest) or _difference(data, raw_folder)
    if problem is not None:
        raise UserError(
            f"{data.place}: expected preprocessed unlabelled images of plans {plans['plans_name']!r}, {problem}. Run "
            f"nnunet_ext preprocess_unlabelled -d {dataset_number(plans['dataset_name'])} -p {plans['plans_name']} "
            f"-c {configuration}"
        )
    return data.marker.cases()


def unlabelled_if_any(
    preprocessed_folder: Path, plans: Mapping[str, Any], configuration: str, raw_folder: Path
) -> list[str]:
    """Return the unlabelled cases by :func:`check_unlabelled`; none if the dataset has no unlabelled image.

    Files in ``imagesUn`` that are named wrongly are not passed over: they are refused as not preprocessed.

    Args:
        preprocessed_folder: The dataset's folder in nnUNet_preprocessed.
        plans: The plans.
        configuration: Name of the configuration.
        raw_folder: The dataset's folder in nnUNet_raw, which need not exist.
    """
    there = unlabelled_folder(preprocessed_folder, plans, configuration).is_dir()
    if not there and not has_unlabelled(raw_folder, empty_folder=False):
        return []
    return check_unlabelled(preprocessed_folder, plans, configuration, raw_folder)


def unlabelled_folder(preprocessed_folder: Path, plans: Mapping[str, Any], configuration: str) -> Path:
    """Return the folder of the preprocessed unlabelled cases; :func:`check_unlabelled` says whether they are there."""
    return UnlabelledData(preprocessed_folder, plans, configuration).place


def _difference(data: UnlabelledData, raw_folder: Path | None) -> str | None:
    raw = unlabelled_names(raw_folder) if raw_folder is not None and (raw_folder / "dataset.json").is_file() else set()
    if raw_folder is None or not raw:
        return None
    if different := sorted(raw ^ set(data.marker.cases())):
        where = "without" if different[0] in raw else "with"
        return f"found them {where} case {different[0]!r}, unlike {raw_folder}{more(len(different) - 1)}"
    sources = data.marker.sources()
    changed = [data.changed(case, sources.get(case.name)) for case in find_unlabelled(raw_folder)]
    if files := [file for file in changed if file is not None]:
        return f"found them from before {files[0]} was changed{more(len(files) - 1, 'file')}"
    return None
