"""A label map as the structures of its challenge: a 4d image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

if TYPE_CHECKING:
    from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord


def write_structure_image(label_file: Path, file: Path, record: ChallengeRecord) -> None:
    """Write a 4d image: one volume of 0 and 1 for each structure of the challenge, in its order.

    Args:
        label_file: A label map, as nnU-Net's writer writes it.
        file: The ``.mha`` to write.
        record: Which labels make up which structure.
    """
    labels = sitk.ReadImage(str(label_file))
    volumes = []
    for _, mask in record.masks(sitk.GetArrayFromImage(labels)):
        volume = sitk.GetImageFromArray(mask.astype(np.uint8))
        volume.CopyInformation(labels)
        volumes.append(volume)
    sitk.WriteImage(sitk.JoinSeries(volumes), str(file), useCompression=True)
