"""``labelsTr`` made of the maps of several raters, for a dataset that has none."""

from __future__ import annotations

import shutil
from pathlib import Path

from tqdm import tqdm

from nnunet_ext.data.companion_files import remove_made_up_spacing
from nnunet_ext.data.image_reader import find_reader, read_image
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError, more
from nnunet_ext.files.label_file import write_label_map
from nnunet_ext.labels.raters.fusion import FUSED, classes_of
from nnunet_ext.labels.raters.raw_raters import check_raters, find_raters

LABELS = "labelsTr"


def write_fused_labels(raw_folder: Path, by: str, *, progress: bool = True) -> list[str]:
    """Write ``labelsTr``, as a whole or not at all; an existing one is never touched.

    Args:
        raw_folder: The dataset's folder in nnUNet_raw.
        by: ``"majority"`` or ``"staple"``.
        progress: Show progress bars.

    Returns:
        The cases.

    Raises:
        UserError: There is a labelsTr, or dataset.json lists labels; a map is wrong; or nobody rated a case.
    """
    place, dataset = raw_folder / LABELS, RawDataset.read(raw_folder)
    if "dataset" in dataset.description:
        raise UserError(
            f"{dataset.file}: expected a dataset whose labels are in {LABELS}, found them listed under 'dataset'. "
            f"Nothing is to be fused."
        )
    if place.exists():
        raise UserError(
            f"{place}: expected no folder, found one, which is never overwritten. Rename it if it is to be made of the "
            f"raters."
        )
    cases = find_raters(raw_folder)
    if unrated := [case for case in cases if not case.maps]:
        raise UserError(
            f"{unrated[0].images[0]}: expected a map by at least one rater, found none of case {unrated[0].name!r}"
            f"{more(len(unrated) - 1)}. Have it annotated, or move the image to imagesUn."
        )
    check_raters(raw_folder, cases, show_progress=progress)
    reader = find_reader(dataset.description, cases[0].images[0])
    classes = classes_of(dataset.description)
    partial = place.with_name(f".{LABELS}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a call that was killed
    partial.mkdir()
    for case in tqdm(cases, f"fusing by {by}", disable=not progress):
        read = [read_image(reader, file, label=True) for file in case.maps.values()]
        fused = FUSED[by]([array[0].astype(int) for array, _ in read], **classes)
        target = partial / f"{case.name}{dataset.file_ending}"
        write_label_map(reader, fused, target, read[0][1])
        remove_made_up_spacing(next(iter(case.maps.values())), target)
    partial.rename(place)
    return [case.name for case in cases]
