"""Bad data found before anything is written: one line naming the file, what is expected, what is there and the remedy.

This module goes through all cases. For dataset.json and file names see :mod:`nnunet_ext.data.raw_dataset`, for what is
read of a case :mod:`nnunet_ext.data.case_check`.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.data.case_check import check_case
from nnunet_ext.data.check_record import CheckRecord
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_reader import find_reader, planned_reader
from nnunet_ext.data.raw_dataset import RawDataset, list_images
from nnunet_ext.errors import UserError, more
from nnunet_ext.processes.cores import usable_cores

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

MAX_THREADS = 8  # each holds a whole case in memory


def check_dataset(
    folder: Path,
    *,
    record: CheckRecord | None = None,
    plans: Mapping[str, Any] | None = None,
    show_progress: bool = True,
) -> RawDataset:
    """Check a raw nnU-Net dataset: dataset.json, file names, and every image and label; unlabelled images are not read.

    Args:
        folder: The dataset's folder in nnUNet_raw.
        record: What was checked before; images and labels that have not changed since are not read again.
        plans: Plans of a dataset that is already planned: they name the reader that will read the images. By default it
            is the one that planning will choose, and what planning depends on is checked.
        show_progress: Show a progress bar.

    Returns:
        The dataset.

    Raises:
        UserError: The first problem found, and how many more cases have one.
    """
    dataset = RawDataset.read(folder)
    legal = dataset.legal_labels()
    if dataset.has_images_alone and plans is None:
        dataset.check_channel_names()
        return dataset
    cases = dataset.cases()
    if plans is None:
        dataset.check_channel_names()
        _check_count(dataset.description["numTraining"], len(cases), dataset.file)
    _check_files(cases)
    if changed := cases if record is None else record.unchecked(dataset.description, cases):
        reader = planned_reader(plans) if plans else find_reader(dataset.description, cases[0].images[0])
        check_cases(changed, dataset, reader, legal=legal, show_progress=show_progress)
    return dataset


def check_images(
    folder: Path,
    dataset_json: dict[str, Any],
    plans: Mapping[str, Any],
    *,
    missing: Collection[int] = (),
    show_progress: bool = True,
) -> None:
    """Check a folder of images to predict.

    Args:
        folder: The folder.
        dataset_json: The model's dataset.json.
        plans: The model's plans, which name the reader that will read the images.
        missing: Numbers of channels that images need not have.
        show_progress: Show a progress bar.

    Raises:
        UserError: The first problem found, and how many more cases have one.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder of images, found none. Check the path after -i.")
    described = RawDataset(folder, dataset_json)
    cases = list_images(folder, described.file_ending, len(described.channel_names), missing)
    check_cases(cases, described, planned_reader(plans), missing=len(missing), show_progress=show_progress)


def check_cases(
    cases: list[Case],
    dataset: RawDataset,
    reader: BaseReaderWriter,
    *,
    legal: tuple[int, ...] = (),
    filled: bool = False,
    missing: int = 0,
    show_progress: bool = True,
) -> None:
    """Read and check cases in threads.

    Args:
        cases: At least one.
        dataset: The dataset that describes them.
        reader: The nnU-Net reader that will read them.
        legal: Values that a label file may hold.
        filled: Refuse an empty image.
        missing: Number of the dataset's channels that images do not have.
        show_progress: Show a progress bar.

    Raises:
        UserError: The first problem found, and how many more cases have one.
    """
    from tqdm import tqdm

    def problem(case: Case) -> str | None:
        try:
            check_case(case, reader, len(dataset.channel_names) - missing, legal, filled=filled)
        except UserError as error:
            return str(error)
        return None

    # nnU-Net's readers print what we say in one line
    with redirect_stdout(io.StringIO()), ThreadPoolExecutor(min(MAX_THREADS, usable_cores())) as pool:
        found = list(tqdm(pool.map(problem, cases), "checking cases", len(cases), disable=not show_progress))
    problems = [text for text in found if text]
    if problems:
        raise UserError(problems[0] + more(len(problems) - 1))


def _check_count(expected: Any, found: int, file: Path) -> None:
    if expected != found:
        raise UserError(
            f"{file}: expected as many training cases as 'numTraining' says, {expected!r}, found {found}. "
            f"Add the missing cases or set numTraining to {found} (nnU-Net plans with it)."
        )


def _check_files(cases: list[Case]) -> None:
    for kind in ("label", "image"):
        missing = []
        for case in cases:
            files = case.images if kind == "image" else [case.label] if case.label else []
            missing += [file for file in files if not file.is_file()][:1]
        if missing:
            raise UserError(
                f"{missing[0]}: expected the {kind} of a training case, found no file. Add it, or remove "
                f"the case.{more(len(missing) - 1)}"
            )
