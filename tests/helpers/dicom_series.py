"""Synthetic DICOM series, written slice by slice with pydicom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

Vectors = tuple[tuple[float, float, float], tuple[float, float, float]]

ANGLE = np.deg2rad(25.0)
AXIAL: Vectors = ((1, 0, 0), (0, 1, 0))  # directions of rows (columns increase) and of columns, DICOM's LPS
FEET_FIRST: Vectors = ((1, 0, 0), (0, -1, 0))  # normal to the feet
PRONE: Vectors = ((-1, 0, 0), (0, -1, 0))
SAGITTAL: Vectors = ((0, 1, 0), (0, 0, -1))
CORONAL: Vectors = ((1, 0, 0), (0, 0, -1))
OBLIQUE: Vectors = (
    (float(np.cos(ANGLE)), float(np.sin(ANGLE) * 0.6), float(np.sin(ANGLE) * 0.8)),
    (0.0, 0.8, -0.6),
)
ORIENTATIONS = {
    "axial": AXIAL,
    "feet first": FEET_FIRST,
    "prone": PRONE,
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
    "oblique": OBLIQUE,
}
PATIENT = {
    "PatientName": "Müller^Änne",
    "PatientID": "id 7",
    "PatientBirthDate": "19510203",
    "PatientSex": "F",
    "PatientAge": "075Y",
    "PatientWeight": "61.5",
}
STUDY = {
    "StudyDate": "20260102",
    "StudyTime": "101112",
    "StudyID": "s1",
    "AccessionNumber": "a-22",
    "StudyDescription": "Abdomen",
    "ReferringPhysicianName": "Ref^Doc",
}
Change = Callable[[Dataset, int], None]


def asymmetric(shape: tuple[int, int, int] = (7, 16, 12)) -> NDArray[np.int16]:
    """Stored values (slices, rows, columns) with a bright object that no flip, rotation or shift maps onto itself."""
    image = np.random.default_rng(3).integers(-40, 40, shape).astype(np.int16)
    d, h, w = shape
    image[1 : d - 2, 2 : h - 6, 1 : w - 5] += 900
    image[1, 2 : h - 1, 1] += 1000
    image[d - 3, 3, 1 : w - 2] += 1000
    return image


def write_series(
    folder: Path,
    image: NDArray[np.integer[Any]],
    *,
    directions: Vectors = AXIAL,
    spacing: tuple[float, float, float] = (2.5, 1.25, 0.75),
    origin: Sequence[float] = (-31.5, 12.25, 107.0),
    modality: str = "CT",
    study: str | None = None,
    frame_of_reference: str | None = None,
    syntax: str = ExplicitVRLittleEndian,
    change: Change | None = None,
    **tags: Any,
) -> list[Path]:
    """Write one file for each slice, in an order and with names that say nothing of the slices' places.

    Args:
        folder: It is made.
        image: Stored values (slices, rows, columns); slices follow the normal, rows x columns.
        directions: Direction of increasing column index, and of increasing row index, in LPS.
        spacing: Between slices, rows, columns, mm.
        origin: Centre of the first voxel, LPS, mm.
        modality: CT or MR.
        study: Study UID.
        frame_of_reference: Its UID.
        syntax: The transfer syntax that the file claims.
        change: Called with each slice's dataset and its place before it is written.
        **tags: Further elements.

    Returns:
        The files in the order of the slices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    x, y = (np.asarray(vector, float) for vector in directions)
    normal = np.cross(x, y)
    common = {
        "StudyInstanceUID": study or generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": frame_of_reference or generate_uid(),
        "SeriesDescription": "Portal venous",
        "SeriesNumber": 4,
        "SpecificCharacterSet": "ISO_IR 192",
        "Manufacturer": "Scanner Ltd",
    }
    values = PATIENT | STUDY | common | tags
    names = np.random.default_rng(11).permutation(len(image))
    files = []
    for place, pixels in enumerate(image):
        dataset = _slice(pixels, modality, place, values, syntax)
        dataset.ImageOrientationPatient = [*_written(x), *_written(y)]
        dataset.ImagePositionPatient = _written(np.asarray(origin) + place * spacing[0] * normal)
        dataset.PixelSpacing = [spacing[1], spacing[2]]
        dataset.SliceThickness = spacing[0]
        if change is not None:
            change(dataset, place)
        files.append(folder / f"IM{names[place]:04d}")
        dataset.save_as(files[-1], enforce_file_format=True)
    return files


def _slice(pixels: NDArray[Any], modality: str, place: int, values: dict[str, Any], syntax: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Modality = modality
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = place + 1
    if modality == "CT":
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    dataset.PixelData = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder("<")).tobytes()
    return dataset


def _written(vector: NDArray[np.float64]) -> list[str]:
    """DICOM's decimal strings have at most 16 characters."""
    return [str(pydicom.valuerep.DSfloat(float(value), auto_format=True)) for value in vector]


def affine_of(directions: Vectors, spacing: Sequence[float], origin: Sequence[float]) -> NDArray[np.float64]:
    """The 4x4 matrix from voxel indices (slice, row, column) to LPS, worked out here and not by the package."""
    x, y = (np.asarray(vector, float) for vector in directions)
    affine = np.eye(4)
    affine[:3, 0] = np.cross(x, y) * spacing[0]
    affine[:3, 1] = y * spacing[1]
    affine[:3, 2] = x * spacing[2]
    affine[:3, 3] = origin
    return affine
