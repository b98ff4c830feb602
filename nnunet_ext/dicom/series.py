"""A DICOM series as a grid of voxels: its headers, its geometry and, when asked for, its intensities."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from highdicom import VolumeGeometry
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, get_decoder, pixel_array

from nnunet_ext.dicom.found_series import DAMAGED
from nnunet_ext.dicom.planes import Planes
from nnunet_ext.errors import UserError, one_line

IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
ONE = ("PatientID", "StudyInstanceUID", "SOPClassUID", "Modality", "FrameOfReferenceUID")  # in a series
UIDS = re.compile(r"[0-9]+(\.[0-9]+)*")  # names the output file
AGAIN = "Export the series again with all its tags."
DECODERS = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, or decompress the files (dcmdjpeg, gdcmconv)"


@dataclass(frozen=True)
class Series:
    """A series that is a volume; :meth:`read` makes it.

    Args:
        uid: Its SeriesInstanceUID.
        where: The series, for messages.
        files: One for each slice, in the order of the slices; or the one multi-frame file.
        headers: Of the files, without pixels.
        frames: Places of the slices among the frames of the multi-frame file; None: one file for each slice.
        geometry: Axes (slice, row, column), slices along their normal; affine to LPS, mm.
    """

    uid: str
    where: str
    files: tuple[Path, ...]
    headers: tuple[Dataset, ...]
    frames: tuple[int, ...] | None
    geometry: VolumeGeometry

    @classmethod
    def read(cls, files: Sequence[Path]) -> Series:
        """Read and check the headers of a series.

        Args:
            files: All its files, in any order.

        Raises:
            UserError: It is no volume, a tag is missing, or its pixels cannot be decoded here.
        """
        headers = [read_header(file) for file in files]
        for file, header in zip(files, headers, strict=True):
            _check(file, header)
        uid = str(headers[0].SeriesInstanceUID)
        where = f"{files[0].parent}, series {uid}"
        _check_one(where, files, headers)
        several = [place for place, header in enumerate(headers) if _is_multi_frame(header)]
        if several and len(files) > 1:
            raise UserError(
                f"{where}: expected one multi-frame file or files of one slice, found {len(files)} files, of which "
                f"{files[several[0]].name} has several frames. Leave one volume in the folder."
            )
        frame_of_reference = str(headers[0].FrameOfReferenceUID)
        if several:
            order, geometry = _frames(where, files[0], headers[0]).grid(frame_of_reference)
            return cls(uid, where, tuple(files), tuple(headers), tuple(order.tolist()), geometry)
        order, geometry = _slices(where, files, headers).grid(frame_of_reference)
        in_order = order.tolist()
        return cls(uid, where, tuple(files[i] for i in in_order), tuple(headers[i] for i in in_order), None, geometry)

    def image(self) -> NDArray[np.float32]:
        """Read the intensities, with rescale slope and intercept (or the modality's table) of each slice applied.

        Returns:
            (D, H, W): slices, rows, columns.

        Raises:
            UserError: A file is damaged or gone.
        """
        if self.frames is not None:
            try:
                whole = pydicom.dcmread(self.files[0], force=True)
                read = highdicom.Image.from_dataset(whole, copy=False).get_frames(
                    self.frames,
                    as_indices=True,
                    dtype=np.float32,
                    apply_real_world_transform=False,
                    apply_presentation_lut=False,
                )
            except (*DAMAGED, OSError, RuntimeError) as error:
                raise _damaged(self.files[0], error) from error
            return np.asarray(read, np.float32)
        image = np.empty(self.geometry.spatial_shape, np.float32)
        for place, (file, header) in enumerate(zip(self.files, self.headers, strict=True)):
            try:
                image[place] = apply_modality_lut(pixel_array(file), header)
            except (*DAMAGED, OSError, RuntimeError) as error:
                raise _damaged(file, error) from error
        return image


def read_header(file: Path, tags: list[str] | None = None) -> Dataset:
    """Read a DICOM file without its pixels.

    Args:
        file: The file.
        tags: Keywords of the only tags that are wanted; None: all.

    Raises:
        UserError: It is damaged.
    """
    try:
        return pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=tags)  # or without a preamble
    except DAMAGED as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> UserError:
    return UserError(
        f"{file}: expected an intact DICOM image, got {type(error).__name__}: {one_line(error)}. Copy it again."
    )


def _check(file: Path, header: Dataset) -> None:
    """Refuse what lacks a tag or is no grey image that can be decoded."""
    for keyword in (*IDENTITY, "Rows", "Columns"):
        _tag(file.name, header, keyword, str(file))
    if not UIDS.fullmatch(str(header.SeriesInstanceUID)):
        raise UserError(
            f"{file}: expected a SeriesInstanceUID of numbers and dots, found {str(header.SeriesInstanceUID)!r}. "
            f"{AGAIN}"
        )
    if "LOCALIZER" in (header.get("ImageType") or ()):
        raise UserError(f"{file}: expected a slice of a volume, found a localizer (ImageType). Choose another series.")
    if header.get("SamplesPerPixel", 1) != 1:
        raise UserError(
            f"{file}: expected one value in each pixel, found {header.SamplesPerPixel} (colour). Choose another series."
        )
    syntax = _tag(file.name, header.file_meta, "TransferSyntaxUID", str(file))
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise UserError(
            f"{file}: expected pixels that the installed packages decode, found {syntax.name}. Run {DECODERS}."
        )


def _check_one(where: str, files: Sequence[Path], headers: Sequence[Dataset]) -> None:
    """Refuse files of several patients, studies, kinds or places, and copies."""
    for keyword in ONE:
        values = [str(header.get(keyword) or "") for header in headers]
        for file, value in zip(files, values, strict=True):
            if value != values[0]:  # which may be a patient's: it is not shown
                raise UserError(
                    f"{where}: expected one {keyword}, found another in {file.name} than in {files[0].name}. Leave "
                    f"only the slices of one volume in the folder."
                )
    first: dict[str, Path] = {}
    for file, header in zip(files, headers, strict=True):
        other = first.setdefault(str(header.SOPInstanceUID), file)
        if other is not file:
            raise UserError(
                f"{where}: expected a SOPInstanceUID of its own in each file, found that of {other.name} in "
                f"{file.name}. Remove copies, or export the series again."
            )


def _is_multi_frame(header: Dataset) -> bool:
    return int(header.get("NumberOfFrames") or 1) > 1 or "PerFrameFunctionalGroupsSequence" in header


def _tag(name: str, dataset: Dataset, keyword: str, where: str) -> Any:
    value = dataset.get(keyword)
    if value is None or value == "":
        raise UserError(f"{where}: expected the tag {keyword} in {name}, found none. {AGAIN}")
    return value


def _floats(name: str, dataset: Dataset, keyword: str, count: int, where: str) -> list[float]:
    value = _tag(name, dataset, keyword, where)
    try:  # pydicom converts text to numbers when they are asked for
        numbers = [float(number) for number in value]
    except (ValueError, TypeError):
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all() or (keyword == "PixelSpacing" and min(numbers) <= 0):
        raise UserError(f"{where}: expected {count} numbers in the tag {keyword} of {name}, found {value}. {AGAIN}")
    return numbers


def _slices(where: str, files: Sequence[Path], headers: Sequence[Dataset]) -> Planes:
    def of_all(keyword: str, count: int) -> NDArray[np.float64]:
        pairs = zip(files, headers, strict=True)
        return np.array([_floats(file.name, header, keyword, count, where) for file, header in pairs])

    return Planes(
        where,
        [file.name for file in files],
        np.array([[header.Rows, header.Columns] for header in headers]),
        of_all("PixelSpacing", 2),
        of_all("ImageOrientationPatient", 6),
        of_all("ImagePositionPatient", 3),
    )


def _frames(where: str, file: Path, header: Dataset) -> Planes:
    """The planes of an enhanced multi-frame object, in whose functional groups each frame's place is."""
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        raise UserError(
            f"{where}: expected slices, or a multi-frame image with functional groups, found {header.SOPClassUID.name} "
            f"in {file.name}. Convert it to an enhanced image or to single slices."
        )
    shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    names = [f"frame {number}" for number in range(1, len(groups) + 1)]

    def of_all(sequence: str, keyword: str, count: int) -> NDArray[np.float64]:
        items = [(group.get(sequence) or shared.get(sequence) or [Dataset()])[0] for group in groups]
        pairs = zip(names, items, strict=True)
        return np.array([_floats(name, item, keyword, count, where) for name, item in pairs])

    return Planes(
        where,
        names,
        np.array([[header.Rows, header.Columns]] * len(groups)),
        of_all("PixelMeasuresSequence", "PixelSpacing", 2),
        of_all("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        of_all("PlanePositionSequence", "ImagePositionPatient", 3),
    )
