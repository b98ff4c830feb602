"""The masks of a case, read from a label map, from one file for each structure or from one image of all."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_ext.challenges.cropped_mask import Box, CroppedMask, box_around
from nnunet_ext.data.image_file import broken
from nnunet_ext.data.image_reader import REFUSALS, read_image
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.files.stored_volume import StoredVolume
from nnunet_ext.quality.grid import Grid

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

IMAGE = ".mha"
CHUNK = 1 << 20  # bytes that are read at once


class CaseMasks(Protocol):
    """The masks of one case, on one grid."""

    @property
    def grid(self) -> Grid:
        """The voxel grid of all masks."""

    def mask(self, structure: str, labels: Sequence[int]) -> CroppedMask | None:
        """Return the mask of a structure; None if its file is missing."""

    def has(self, structure: str) -> bool:
        """Whether there is a mask of a structure, be it empty."""

    def counted(self, box: Box) -> NDArray[np.bool_] | None:
        """Return the voxels of a box that count; None: all of them."""


class LabelMap:
    """A label map; a structure is the union of some labels.

    Args:
        labels: (D, H, W), whole numbers.
        grid: Of the label map.
        ignore: Label whose voxels do not count.
    """

    def __init__(self, labels: NDArray[Any], grid: Grid, ignore: int | None = None) -> None:
        self.labels = labels
        self.grid = grid
        self._ignore = ignore
        self._boxes = ndimage.find_objects(labels)

    @classmethod
    def read(cls, file: Path, reader: BaseReaderWriter, legal: Collection[int], ignore: int | None = None) -> LabelMap:
        """Read a label map.

        Args:
            file: The file.
            reader: Of nnU-Net.
            legal: The labels that may occur, but for 0 and ``ignore``.
            ignore: Label whose voxels do not count.

        Raises:
            UserError: It cannot be read, or holds another value.
        """
        return cls.checked(*read_labels(file, reader), file, legal, ignore)

    @classmethod
    def checked(
        cls, labels: NDArray[Any], grid: Grid, file: Path, legal: Collection[int], ignore: int | None = None
    ) -> LabelMap:
        """Refuse other labels than those that may occur.

        Args:
            labels: (D, H, W), whole numbers.
            grid: Of the label map.
            file: For the message.
            legal: The labels that may occur, but for 0 and ``ignore``.
            ignore: Label whose voxels do not count.

        Raises:
            UserError: There is another value.
        """
        known = {0, *legal} | (set() if ignore is None else {ignore})
        beyond = [value for value in (int(labels.min()), int(labels.max())) if not 0 <= value <= max(known)]
        found = cls(np.zeros((1,) * labels.ndim, np.uint8) if beyond else labels, grid, ignore)
        if other := beyond or [value for value in found.values if value not in known]:
            raise UserError(
                f"{file}: expected labels {', '.join(map(str, sorted(known)))}, found {other[0]}. Convert it, or "
                f"evaluate it as another dataset."
            )
        return found

    @property
    def values(self) -> list[int]:
        """Labels that occur, without 0."""
        return [value for value, box in enumerate(self._boxes, 1) if box is not None]

    def mask(self, structure: str, labels: Sequence[int]) -> CroppedMask | None:
        """Return the voxels that have one of the labels."""
        there = [label for label in labels if label in self.values]
        if not there:
            return CroppedMask(None, np.zeros((0,) * self.labels.ndim, bool))
        box = box_around([self._boxes[label - 1] for label in there], self.labels.shape)
        return CroppedMask(box, np.isin(self.labels[box], there))

    def has(self, structure: str) -> bool:
        """Return True: a label map has all structures."""
        return True

    def counted(self, box: Box) -> NDArray[np.bool_] | None:
        """Return the voxels of a box without the label to ignore; None if there is none."""
        return None if self._ignore is None else self.labels[box] != self._ignore


class MaskFolder:
    """A folder with one file for each structure, ``Brain.nii.gz``; each is read when it is asked for.

    Args:
        folder: The folder.
        reader: Of nnU-Net.
        structures: Names of the structures.
        ending: Of the files.

    Raises:
        UserError: None of the structures has a file.
    """

    def __init__(self, folder: Path, reader: BaseReaderWriter, structures: Sequence[str], ending: str) -> None:
        self._folder, self._reader, self._ending = folder, reader, ending
        there = [name for name in structures if self.has(name)]
        if not there:
            raise UserError(f"{folder}: expected files such as {structures[0]}{ending}, found none. Check the path.")
        self._first, (self._mask, self.grid) = there[0], self._read(there[0])

    def mask(self, structure: str, labels: Sequence[int]) -> CroppedMask | None:
        """Return the voxels that are not 0 in a structure's file, or None if it is missing.

        Raises:
            UserError: The file cannot be read, or its grid differs from that of the other structures.
        """
        if structure == self._first:
            return self._mask
        if not self.has(structure):
            return None
        mask, grid = self._read(structure)
        check_grid(grid, self._file(structure), self.grid, self._file(self._first))
        return mask

    def has(self, structure: str) -> bool:
        """Whether a structure has a file."""
        return self._file(structure).is_file()

    def counted(self, box: Box) -> NDArray[np.bool_] | None:
        """Return None: all voxels count."""
        return None

    def _file(self, structure: str) -> Path:
        return self._folder / f"{structure}{self._ending}"

    def _read(self, structure: str) -> tuple[CroppedMask, Grid]:
        labels, grid = read_labels(self._file(structure), self._reader)
        return CroppedMask.of(labels != 0), grid


class MaskImage:
    """An image of all structures that a container writes: 4d, uint8, a structure after another along the last axis.

    It is read once, one structure at a time, of which the box around the mask is kept.

    Args:
        file: The image, ``.mha``.
        structures: Their names, in the image's order.

    Raises:
        UserError: It is damaged, or has other axes or another type.
    """

    def __init__(self, file: Path, structures: Sequence[str]) -> None:
        try:
            header = StoredVolume(file).header()
            size, kind = header.GetSize(), header.GetPixelIDValue()
            if size[3:] != (len(structures),) or (kind, header.GetNumberOfComponents()) != (SimpleITK.sitkUInt8, 1):
                raise UserError(
                    f"{file}: expected an image of 8-bit integers with four axes, {len(structures)} structures along "
                    f"the last, found {' x '.join(map(str, size))} of {SimpleITK.GetPixelIDValueAsString(kind)}. "
                    f"Write it with nnunet_ext split_labels --structures image."
                )
            shape = size[2::-1]
            volumes = _volumes(file, math.prod(shape), len(structures))
            arrays = (np.frombuffer(volume, np.uint8).reshape(shape) for volume in volumes)
            self._masks = {name: CroppedMask.of(array != 0) for name, array in zip(structures, arrays, strict=True)}
        except UserError:
            raise
        except REFUSALS as error:
            raise broken(file, one_line(error, last=True)) from error
        direction = np.reshape(header.GetDirection(), (4, 4))[:3, :3]
        place = {"spacing": header.GetSpacing()[:3], "origin": header.GetOrigin()[:3], "direction": direction.ravel()}
        self.grid = Grid.of(shape, {"spacing": header.GetSpacing()[2::-1], "sitk_stuff": place}, str(file))

    def mask(self, structure: str, labels: Sequence[int]) -> CroppedMask | None:
        """Return the voxels of a structure that are not 0."""
        return self._masks[structure]

    def has(self, structure: str) -> bool:
        """Return True: the image has all structures."""
        return True

    def counted(self, box: Box) -> NDArray[np.bool_] | None:
        """Return None: all voxels count."""
        return None


def read_labels(file: Path, reader: BaseReaderWriter) -> tuple[NDArray[Any], Grid]:
    """Return a label map (D, H, W) of whole numbers, and its grid.

    Raises:
        UserError: It cannot be read, or holds fractions.
    """
    array, properties = read_image(reader, file, label=True)
    return whole_labels(array[0], properties, file)


def whole_labels(values: NDArray[Any], properties: Mapping[str, Any], file: Path) -> tuple[NDArray[Any], Grid]:
    """Return a label map (D, H, W) as whole numbers, and its grid.

    Args:
        values: (D, H, W), of any type.
        properties: What nnU-Net's reader noted.
        file: For messages.

    Raises:
        UserError: It holds fractions.
    """
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    whole = values.astype(np.uint8 if low >= 0 and high <= 255 else np.int64)
    if not np.array_equal(whole, values):
        raise UserError(f"{file}: expected whole numbers as labels, found fractions. Save the label map, not scores.")
    return whole, Grid.of(whole.shape, properties, str(file))


def check_grid(grid: Grid, file: Path, expected: Grid, of: Path) -> None:
    """Refuse a file whose voxels lie elsewhere than those of another.

    Args:
        grid: Of the file.
        file: For the message.
        expected: The other's grid.
        of: The other, for the message.

    Raises:
        UserError: Shape, voxel size, origin or direction differ.
    """
    if (difference := grid.difference(expected)) is not None:
        found = difference.replace("the image has", "the other has")
        raise UserError(f"{file}: expected the voxel grid of {of}, found {found}. Resample it, or correct its header.")


def _volumes(file: Path, size: int, number: int) -> Iterator[bytearray]:
    """Yield the structures of a MetaImage one after another, each of so many bytes.

    Raises:
        EOFError, zlib.error: It ends early, or is damaged.
        ValueError: The voxels are in another file.
    """
    with file.open("rb") as stream:
        fields: dict[str, str] = {}
        for line in stream:
            name, _, value = line.decode("latin-1").partition("=")
            fields[name.strip()] = value.strip()
            if "ElementDataFile" in fields:  # the last one
                break
        if fields["ElementDataFile"] != "LOCAL":
            raise ValueError("its voxels are in another file")
        unpack = zlib.decompressobj() if fields.get("CompressedData") == "True" else None
        for _ in range(number):
            volume = bytearray()
            while missing := size - len(volume):
                packed = (unpack and unpack.unconsumed_tail) or stream.read(min(missing, CHUNK))
                if not packed:
                    raise EOFError("it ends early")
                volume += unpack.decompress(packed, missing) if unpack else packed
            yield volume
