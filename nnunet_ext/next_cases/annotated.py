"""Images that are annotated already, which the choice keeps away from."""

from __future__ import annotations

import logging
from pathlib import Path

from nnunet_ext.data.image_case import Case
from nnunet_ext.data.raw_dataset import RawDataset, list_images
from nnunet_ext.errors import UserError, more
from nnunet_ext.files.file_stamp import FileStamp
from nnunet_ext.quality.model_files import ModelFiles
from nnunet_ext.stock.folders import if_there

logger = logging.getLogger(__name__)


def annotated_cases(model: ModelFiles, folder: Path | None) -> list[Case]:
    """Return the cases whose images count as covered.

    Args:
        model: The model.
        folder: Images named CASE_0000.nii.gz and so on; None: the training cases in ``nnUNet_raw/DATASET`` of the
            model, if that is there.

    Returns:
        The cases; none if no folder is named and the training cases cannot be reached, and a line says so.

    Raises:
        UserError: A folder is named that has no images.
    """
    if folder is not None:
        return list_images(folder, model.file_ending, model.channels)
    raw = if_there("nnUNet_raw")
    dataset = None if raw is None or not model.dataset else raw / model.dataset
    if dataset is None or not (dataset / "dataset.json").is_file():
        logger.warning(
            "no training images of %s were found in nnUNet_raw: images like them can be chosen; name annotated images "
            "with --annotated",
            model.dataset or "the model",
        )
        return []
    try:
        cases = RawDataset.read(dataset).cases()
    except UserError as error:  # nobody asked for them
        logger.warning("training images are left out, so that images like them can be chosen: %s", error)
        return []
    return [case for case in cases if case.label is not None and case.label.is_file()]


def not_among(cases: list[Case], others: list[Case]) -> list[Case]:
    """Return the cases that are not annotated.

    A case is annotated if its files are those of an annotated case, whatever their names, or copies of the same name.

    Args:
        cases: The cases.
        others: The annotated cases.

    Raises:
        UserError: A case has the name of an annotated one, and other files: its draft could replace a label.
    """
    known = {case.images[0].resolve() for case in others}
    by_name = {case.name: case for case in others}
    left = [case for case in cases if case.images[0].resolve() not in known]
    left = [case for case in left if case.name not in by_name or not _are_copies(case, by_name[case.name])]
    if clashes := [case for case in left if case.name in by_name]:
        raise UserError(
            f"{clashes[0].images[0]}: expected a name that no annotated image has, found that of "
            f"{by_name[clashes[0].name].images[0]}, another image, whose label the draft could replace. Rename it, or "
            f"leave it out.{more(len(clashes) - 1, 'image')}"
        )
    return left


def _are_copies(one: Case, other: Case) -> bool:
    if len(one.images) != len(other.images) or not all(file.is_file() for file in (*one.images, *other.images)):
        return False
    pairs = zip(one.images, other.images, strict=True)
    return all(FileStamp.of(file).sha256 == FileStamp.of(known).sha256 for file, known in pairs)
