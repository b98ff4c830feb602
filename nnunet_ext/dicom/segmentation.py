"""From a label map to a DICOM segmentation beside the images that it was predicted from."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from nnunet_ext import __version__
from nnunet_ext.dicom.segment_codes import as_text, segment_codes
from nnunet_ext.dicom.series import Series
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.files.json_file import whole_file

ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
SERIES_NUMBER = 1000  # added to that of the images
# what the standard wants in every object, with a value or without; copied as it is
COPIED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


@dataclass(frozen=True)
class Algorithm:
    """What made a segmentation.

    Args:
        name: Of the model.
        version: Of the model.
        parameters: Further facts, by name.
    """

    name: str
    version: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Segment:
    """A segment: a label or a region.

    Args:
        name: Of dataset.json.
        labels: Values of the label map that belong to it.
    """

    name: str
    labels: tuple[int, ...]


def segments_of(labels: Mapping[str, int | str | Sequence[int]]) -> list[Segment]:
    """Return the segments of a model.

    Args:
        labels: ``labels`` of dataset.json: values (a number, or text of one), or lists of values for regions.

    Returns:
        Labels in the order of their values, regions in that of dataset.json; without background and ignore label.
    """
    named = {
        name: (int(value),) if isinstance(value, int | str) else tuple(map(int, value))
        for name, value in labels.items()
        if name not in ("background", "ignore")
    }
    segments = [Segment(name, values) for name, values in named.items() if values != (0,)]
    if any(len(segment.labels) > 1 for segment in segments):
        return segments
    return sorted(segments, key=lambda segment: segment.labels)


def write_segmentation(
    labels: NDArray[np.integer[Any]],
    channels: Sequence[Series],
    segments: Sequence[Segment],
    algorithm: Algorithm,
    file: Path,
) -> None:
    """Write a segmentation of the type BINARY, whole or not at all.

    Patient, study and frame of reference are those of the images; UIDs are new. Segments of regions overlap. Slices
    without a segment are left out.

    Args:
        labels: (D, H, W) on the grid of the first channel.
        channels: The series that it was predicted from.
        segments: At least one; for labels without regions, their values from 1 on.
        algorithm: What made it.
        file: The file; an existing one is replaced.

    Raises:
        UserError: A tag of the images has a value with which no segmentation can be made.
    """
    first, *others = channels
    headers = list(first.headers)
    headers[0] = copy.deepcopy(headers[0])
    for keyword in COPIED:
        setattr(headers[0], keyword, None)  # highdicom refuses what it finds odd, such as the sex U
    try:
        made = Segmentation(
            headers,
            first.geometry.with_array(*_pixels(labels, segments)),
            SegmentationTypeValues.BINARY,
            [_description(number, segment, algorithm) for number, segment in enumerate(segments, start=1)],
            series_instance_uid=highdicom.UID(),
            series_number=SERIES_NUMBER + max(0, int(first.headers[0].get("SeriesNumber") or 0)),
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="nnunet_ext",
            manufacturer_model_name=_short(algorithm.name),
            software_versions=[f"nnunet_ext {__version__}", f"nnunetv2 {version('nnunetv2')}"],
            device_serial_number=_short(algorithm.version),
            content_description=_short(f"Segmentation by {algorithm.name}"),
            content_label="SEGMENTATION",
            series_description=_short(f"Segmentation: {algorithm.name}"),
            further_source_images=[header for series in others for header in series.headers] or None,
            specific_character_set="ISO_IR 192",  # UTF-8, for names of labels and of patients
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{first.where}: expected tags with which a segmentation can be made, got {type(error).__name__}: "
            f"{one_line(error)}. Correct the tag and predict again, or predict the images as NIfTI files with -i."
        ) from error
    for keyword in COPIED:
        if keyword in first.headers[0]:
            made[keyword] = first.headers[0][keyword]
    with whole_file(file) as partial:
        made.save_as(partial)


def _pixels(
    labels: NDArray[np.integer[Any]], segments: Sequence[Segment]
) -> tuple[NDArray[np.integer[Any]], dict[str, list[int]] | None]:
    """Labels as they are, or one channel for each region, since regions overlap."""
    numbers = list(range(1, len(segments) + 1))
    if [segment.labels for segment in segments] == [(number,) for number in numbers]:
        return labels, None
    regions = np.empty((*labels.shape, len(segments)), np.uint8)
    for place, segment in enumerate(segments):
        regions[..., place] = np.isin(labels, segment.labels)
    return regions, {"SegmentNumber": numbers}


def _description(number: int, segment: Segment, algorithm: Algorithm) -> SegmentDescription:
    codes = segment_codes(segment.name)
    description = SegmentDescription(
        number,
        _short(segment.name),
        codes.category,
        codes.kind,
        SegmentAlgorithmTypeValues.AUTOMATIC,
        highdicom.AlgorithmIdentificationSequence(
            _short(algorithm.name),
            ARTIFICIAL_INTELLIGENCE,
            _short(algorithm.version),
            source="nnunet_ext",
            parameters=dict(algorithm.parameters),
        ),
    )
    if codes.side is not None:
        kind: Dataset = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [CodedConcept.from_code(codes.side)]
    return description


def _short(text: str) -> str:
    """DICOM's long string: at most 64 characters."""
    return as_text(text)[:64]
