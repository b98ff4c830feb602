"""The series of a case, one for each channel, which must be one grid of voxels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from highdicom import VolumeGeometry

from nnunet_ext.dicom.planes import TOLERANCE
from nnunet_ext.dicom.series import Series, read_header
from nnunet_ext.errors import UserError

REGISTER = "Resample one onto the other, and predict the images as NIfTI files with -i."


def read_channels(files: Sequence[Path]) -> list[Series]:
    """Read the headers of a case.

    Args:
        files: Of all its series, in any order within a series; series in the order of channels.

    Returns:
        One series for each channel.

    Raises:
        UserError: One is no volume, or they differ in patient, study, frame of reference, shape or place.
    """
    by_uid: dict[str, list[Path]] = {}
    for file in files:
        header = read_header(file, ["SeriesInstanceUID"])
        by_uid.setdefault(str(header.get("SeriesInstanceUID")), []).append(file)
    channels = [Series.read(group) for group in by_uid.values()]
    for other in channels[1:]:
        _check_same(channels[0], other)
    return channels


def _check_same(first: Series, other: Series) -> None:
    expected = f"{other.where}: expected the grid of voxels of series {first.uid}, found"
    if first.headers[0].get("PatientID") != other.headers[0].get("PatientID"):
        raise UserError(f"{expected} another PatientID. Give series of one patient.")
    studies = [str(series.headers[0].StudyInstanceUID) for series in (first, other)]
    if studies[0] != studies[1]:
        raise UserError(f"{expected} another study, {studies[1]} instead of {studies[0]}. Give series of one study.")
    one, two = first.geometry, other.geometry
    if one.frame_of_reference_uid != two.frame_of_reference_uid:
        raise UserError(f"{expected} another frame of reference. {REGISTER}")
    if one.spatial_shape != two.spatial_shape:
        raise UserError(f"{expected} the shape {two.spatial_shape} instead of {one.spatial_shape}. {REGISTER}")
    apart = _apart(one, two)
    if apart > TOLERANCE * min(one.spacing):
        raise UserError(f"{expected} voxels up to {apart:.4g} mm apart. {REGISTER}")


def _apart(one: VolumeGeometry, two: VolumeGeometry) -> float:
    """The largest distance between corresponding voxels, which is at a corner; mm."""
    corners = np.array(list(itertools.product(*((0, size - 1) for size in one.spatial_shape))))
    distances = one.map_indices_to_reference(corners) - two.map_indices_to_reference(corners)
    return float(np.linalg.norm(distances, axis=1).max())
