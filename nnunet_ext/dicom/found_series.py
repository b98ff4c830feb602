"""Which series of images a folder holds, whatever its files are named."""

from __future__ import annotations

import logging
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import MediaStorageDirectoryStorage, SegmentationStorage
from tqdm import tqdm

from nnunet_ext.errors import UserError, nearest, one_line

logger = logging.getLogger(__name__)
READ = ["SOPClassUID", "SeriesInstanceUID", "SeriesDescription", "Modality", "Rows", "NumberOfFrames"]
DAMAGED = (EOFError, ValueError, KeyError, AttributeError, TypeError, NotImplementedError, struct.error)
MASKS = (SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7")  # bits, and label maps
SHOWN = 8
SUFFIXES = (".dcm", ".ima")  # of DICOM files, wherever they are
GROUPS = (b"\x02\x00", b"\x08\x00")  # that DICOM without a preamble begins with
REPLACE = "Copy it again, or move it elsewhere."


@dataclass(frozen=True)
class FoundSeries:
    """A series and its files.

    Args:
        uid: Its SeriesInstanceUID.
        description: What the scanner's user called it; may be empty.
        modality: Such as CT or MR.
        slices: Number of slices: files, or frames of multi-frame files.
        files: In the order of their paths, which says nothing of the slices' places.
    """

    uid: str
    description: str
    modality: str
    slices: int
    files: tuple[Path, ...]

    def __str__(self) -> str:
        """Return the UID, and in brackets what helps to tell series apart."""
        return f"{self.uid} ({self.modality or 'no modality'}, {self.description!r}, slices: {self.slices})"


def find_series(folder: Path, *, show_progress: bool = True) -> list[FoundSeries]:
    """Return the series of images in a folder and its subfolders, in the order of their UIDs.

    DICOM objects without an image or with a segmentation are passed over, and so are files that are no DICOM, of which
    a line is logged. One that may have been a slice is refused.

    Args:
        folder: The folder.
        show_progress: Show a bar over its files.

    Raises:
        UserError: There is no folder, no series in it, a damaged DICOM file, an empty file, or one that is no DICOM but
            is called like one: with the suffix .dcm or .ima, or that of the DICOM files beside it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder with a DICOM series, found none. Correct the path.")
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    found: dict[str, list[tuple[Path, Dataset]]] = {}
    others: Counter[str] = Counter()
    no_dicom: list[Path] = []
    for file in tqdm(files, desc=f"headers in {folder.name}", unit="file", leave=False, disable=not show_progress):
        header = _header(file)
        if header is None:
            others["no DICOM"] += 1
            no_dicom.append(file)
        elif header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            others["DICOMDIR"] += 1
        elif not header.get("SeriesInstanceUID"):
            raise UserError(f"{file}: expected an intact DICOM file, found no SeriesInstanceUID in it. {REPLACE}")
        else:
            found.setdefault(str(header.SeriesInstanceUID), []).append((file, header))
    for uid, members in list(found.items()):
        if not any("Rows" in header and header.get("SOPClassUID") not in MASKS for _, header in members):
            others[str(members[0][1].get("Modality") or "no image")] += len(found.pop(uid))
    if not found:
        passed = ", ".join(f"{kind}: {count}" for kind, count in others.items())
        raise UserError(
            f"{folder}: expected the DICOM files of a series of images, found "
            f"{f'other files ({passed})' if others else 'no file'}. Give the folder of an exported series."
        )
    _refuse_slices(no_dicom, [file for members in found.values() for file, _ in members])
    if no_dicom:
        logger.info(
            "%s: no DICOM: %d file%s, such as %s", folder, len(no_dicom), "s" * (len(no_dicom) > 1), no_dicom[0]
        )
    return [_series(uid, found[uid]) for uid in sorted(found)]


def choose_series(
    folders: Sequence[Path], uids: Sequence[str] | None = None, *, show_progress: bool = True
) -> list[FoundSeries]:
    """Return the series that are to be predicted.

    Args:
        folders: Folders, each with one series if no UIDs are given.
        uids: The series, in this order, wherever in the folders they are.
        show_progress: Show a bar over the files of each folder.

    Raises:
        UserError: A folder has several series, or there is no series of a UID, or one is named twice or in two folders.
    """
    found = [find_series(folder, show_progress=show_progress) for folder in folders]
    if uids is None:
        for folder, several in zip(folders, found, strict=True):
            if len(several) > 1:
                rest = len(several) - SHOWN
                named = "; ".join(map(str, several[:SHOWN])) + (f" and {rest} more" if rest > 0 else "")
                raise UserError(
                    f"{folder}: expected one series, found {len(several)}: {named}. Choose with --series UID."
                )
        chosen = [several[0] for several in found]
    else:
        by_uid = {series.uid: series for several in found for series in several}
        places = {
            uid: [place for place, several in enumerate(found) if uid in {one.uid for one in several}] for uid in uids
        }
        for uid in uids:
            if uid not in by_uid:
                raise UserError(
                    f"--series {uid}: expected a series in {', '.join(map(str, folders))}, found none of this UID. "
                    f"{nearest(uid, by_uid)}"
                )
            if len(places[uid]) > 1:
                raise UserError(
                    f"--series {uid}: expected its files in one folder, found some in "
                    f"{' and '.join(str(folders[place]) for place in places[uid])}. Name one of them, or put its "
                    f"files together."
                )
        chosen = [by_uid[uid] for uid in uids]
    twice = [uid for uid, count in Counter(series.uid for series in chosen).items() if count > 1]
    if twice:
        raise UserError(f"series {twice[0]}: expected once, found twice. Name each series once.")
    return chosen


def _header(file: Path) -> Dataset | None:
    try:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=READ)
    except InvalidDicomError:
        return _header_without_preamble(file)
    except DAMAGED as error:
        raise UserError(
            f"{file}: expected an intact DICOM file, got {type(error).__name__}: {one_line(error)}. {REPLACE}"
        ) from error


def _header_without_preamble(file: Path) -> Dataset | None:
    with file.open("rb") as stream:
        if stream.read(2) not in GROUPS:
            return None
    try:
        header = pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=READ)
        return header if header.get("SOPClassUID") and header.get("SeriesInstanceUID") else None
    except DAMAGED:
        return None


def _refuse_slices(no_dicom: Sequence[Path], dicom: Sequence[Path]) -> None:
    """Refuse what may have been a slice: at an end of the series, nothing else shows that it is missing."""
    beside = {(file.parent, _suffix(file)) for file in dicom}
    for file in no_dicom:
        size = file.stat().st_size
        found = f"{size} bytes without its header" if size else "no byte"
        called_so = _suffix(file) in SUFFIXES or (file.parent, _suffix(file)) in beside
        if not file.name.startswith(".") and (size == 0 or called_so):
            raise UserError(f"{file}: expected an intact DICOM file, found {found}. {REPLACE}")


def _suffix(file: Path) -> str:
    """In small letters; none for a name that is a UID, whose last number is no suffix."""
    suffix = file.suffix.lower()
    return "" if suffix[1:].isdigit() else suffix


def _series(uid: str, members: Sequence[tuple[Path, Dataset]]) -> FoundSeries:
    first = members[0][1]
    return FoundSeries(
        uid,
        str(first.get("SeriesDescription") or ""),
        str(first.get("Modality") or ""),
        sum(int(header.get("NumberOfFrames") or 1) for _, header in members),
        tuple(file for file, _ in members),
    )
