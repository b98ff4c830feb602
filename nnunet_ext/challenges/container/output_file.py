"""The file that the platform takes back."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_ext.challenges.container.interface import STRUCTURES, OutputImage
from nnunet_ext.challenges.container.readable_image import read_header
from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
from nnunet_ext.challenges.structure_files import write_structure_image
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import whole_file
from nnunet_ext.files.stored_volume import StoredVolume
from nnunet_ext.files.system_files import files_in
from nnunet_ext.stock.folders import check_writable

HIGHEST = 255  # the platform takes label maps of 8 bits


def check_free(targets: Sequence[Path], *, alone: bool) -> None:
    """Make the output's folder, and refuse one with files in it: the platform takes exactly one.

    Args:
        targets: The files that will be written, in one folder.
        alone: No other file may be there; else none of these.

    Raises:
        UserError: There is one, or the folder cannot be written.
    """
    folder = targets[0].parent
    check_writable(folder, str(folder))
    there = files_in(folder)
    wrong = [file for file in there if alone or file.name in {target.name for target in targets}]
    if wrong:
        raise UserError(
            f"{folder}: expected no file yet, found {wrong[0].name}. Empty it: the platform takes one file only."
        )


def write_output(labels: Path, image: Path, target: Path, output: OutputImage, record: ChallengeRecord | None) -> None:
    """Write a label map as the platform takes it, with the geometry of the image to the last digit.

    Args:
        labels: A label map as nnU-Net's writer wrote it; a file beside it is written as well.
        image: The image whose geometry it gets.
        target: The file; it is there whole or not at all.
        output: Of the interface.
        record: Which labels make up which structure, and the challenge's values; None: labels are values.

    Raises:
        UserError: The label map has another size than the image, or values beyond 8 bits; or the file cannot be
            written.
    """
    header = read_header(image)
    found = sitk.ReadImage(str(labels))
    if found.GetSize() != header.GetSize():
        raise UserError(
            f"{image}: expected a label map of its size {header.GetSize()}, got {found.GetSize()}. Report this."
        )
    if output.kind != STRUCTURES:
        found = _values(found, record, image)
    found.SetOrigin(header.GetOrigin())
    found.SetSpacing(header.GetSpacing())
    found.SetDirection(header.GetDirection())
    whole = labels.with_name(f"whole{output.ending}")
    if StoredVolume(image).is_nifti and StoredVolume(whole).is_nifti:  # ITK rounds the directions that it writes
        StoredVolume(image).write_labels(sitk.GetArrayFromImage(found), whole)
    else:
        sitk.WriteImage(found, str(whole), useCompression=output.kind != STRUCTURES)
    if output.kind == STRUCTURES and record is not None:  # nnunet_ext package refuses a model without a record
        label_map, whole = whole, labels.with_name(f"structures{output.ending}")
        write_structure_image(label_map, whole, record)
    with whole_file(target) as partial:
        shutil.copyfile(whole, partial)


def _values(labels: sitk.Image, record: ChallengeRecord | None, image: Path) -> sitk.Image:
    """The challenge's values in place of the model's labels, in 8 bits."""
    array = sitk.GetArrayViewFromImage(labels)
    highest = int(array.max())
    table = np.arange(highest + 1)
    if record is not None and record.values:
        table[1:] = 0
        for name, own in record.structures.items():
            table[[label for label in own if label <= highest]] = record.values[name]
    if table.max() > HIGHEST:
        raise UserError(f"{image}: expected labels up to {HIGHEST}, predicted {table.max()}. Use a model with fewer.")
    return sitk.GetImageFromArray(table.astype(np.uint8)[array])
