"""One case's images and label: whole files, finite intensities, one grid, declared labels.

nnU-Net's readers take some damage without a word: SimpleITK returns a truncated .nii.gz padded with zeros.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from nnunet_ext.base.one_line import one_line
from nnunet_ext.errors import UserError

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

TOLERANCE = 0.1  # voxels between the corners of image and label; headers carry rounding errors


@dataclass(frozen=True)
class Case:
    """A case's files; prediction input has no label."""

    name: str
    images: tuple[Path, ...]
    label: Path | None = None


def find_reader(description: dict[str, Any], example: Path) -> BaseReaderWriter:
    """nnU-Net's reader for these files, chosen as nnU-Net chooses it."""
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

    _check_whole(example)
    try:
        with redirect_stderr(io.StringIO()):  # nnU-Net prints a traceback for each reader that fails
            return determine_reader_writer_from_dataset_json(description, str(example), verbose=False)()
    except RuntimeError as error:
        raise UserError(
            f"{example}: expected an image that nnU-Net can read (.nii.gz, .nrrd, .mha, .png, .tif), got one "
            f"that none of its readers takes. Replace or convert it."
        ) from error


def check_case(
    case: Case, reader: BaseReaderWriter, channels: int, legal: tuple[int, ...], *, filled: bool = False
) -> None:
    """Read a case and refuse what is wrong with it.

    Args:
        case: Its files.
        reader: nnU-Net's reader.
        channels: Image channels of the data set.
        legal: Values that a label file may hold.
        filled: Refuse an empty image: one value in all voxels of all channels.

    Raises:
        UserError: The first problem.
    """
    images = [_read(reader.read_images, file) for file in case.images]
    first, grid = images[0][0], images[0][1]
    for file, (array, properties) in zip(case.images, images, strict=True):
        _check_grid(file, array, properties, case.images[0], first, grid)
        _check_finite(file, array)
    if (found := sum(len(array) for array, _ in images)) != channels:
        raise UserError(
            f"{case.images[0]}: expected {channels} channel{'s' * (channels > 1)} of case {case.name!r} as "
            f"in dataset.json, found {found}. Add the missing ones as _0001, _0002 ..."
        )
    if filled and all(np.ptp(channel) == 0 for array, _ in images for channel in array):
        raise UserError(
            f"{case.images[0]}: expected an image of case {case.name!r}, found it empty: {first.flat[0]:g} in all "
            f"voxels. Export it again or remove the case."
        )
    if case.label is not None:
        label, properties = read_label(case.label, reader, legal)
        _check_grid(case.label, label, properties, case.images[0], first, grid)


def read_label(file: Path, reader: BaseReaderWriter, legal: tuple[int, ...]) -> tuple[NDArray, dict]:
    """Read a label file whole, as (1, Z, Y, X), and its reader's properties.

    Raises:
        UserError: It is damaged or holds another value than the legal ones.
    """
    label, properties = _read(lambda names: reader.read_seg(names[0]), file)
    _check_labels(file, label, legal)
    return label, properties


def _read(read: Callable[[list[str]], tuple[NDArray, dict]], file: Path) -> tuple[NDArray, dict]:
    """Read one file whole; every reader has its own words for a broken one."""
    from tifffile import TiffFileError

    _check_whole(file)
    try:
        return read([str(file)])
    # Pillow raises SyntaxError on a broken PNG
    except (RuntimeError, OSError, EOFError, ValueError, AssertionError, SyntaxError, TiffFileError) as error:
        raise _broken(file, one_line(error, last=True)) from error


def _check_whole(file: Path) -> None:
    """Refuse what SimpleITK hides in a NIfTI: it replaces missing, NaN and infinite voxels by zeros."""
    if not file.is_file():
        raise UserError(f"{file}: expected an image, found no file. Add it.")
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        voxels = _nifti_voxels(file, content) if file.name.endswith((".nii", ".nii.gz")) else None
    except (OSError, EOFError, zlib.error, ImageFileError, ValueError) as error:
        raise _broken(file, one_line(error, last=True)) from error
    if voxels is not None and np.issubdtype(voxels.dtype, np.inexact):
        _check_finite(file, voxels)


def _nifti_voxels(file: Path, content: bytes) -> NDArray:
    """The voxels as stored, flat.

    Raises:
        ValueError: There are fewer than the header announces.
    """
    stored = nibabel.load(file).dataobj
    count, dtype, start = math.prod(stored.shape), stored.dtype, stored.offset
    if len(content) < start + count * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes, the header announces {start + count * dtype.itemsize}")
    return np.frombuffer(content, dtype, count, start)


def _broken(file: Path, reason: str) -> UserError:
    return UserError(
        f"{file}: expected a whole image, but it is corrupt or truncated ({reason}). Copy or export it again."
    )


def _check_finite(file: Path, array: NDArray) -> None:
    wrong = array.size - int(np.isfinite(array).sum())
    if wrong:
        raise UserError(
            f"{file}: expected finite values, found NaN or Inf in {wrong} voxel{'s' * (wrong > 1)}. "
            f"Replace them by the value of the surroundings or of air."
        )


def _check_labels(file: Path, label: NDArray, legal: tuple[int, ...]) -> None:
    wrong = label[~np.isin(label, legal)]
    if wrong.size:
        values = ", ".join(f"{value:g}" for value in np.unique(wrong)[:5])
        raise UserError(
            f"{file}: expected the labels of dataset.json, {min(legal)} to {max(legal)}, found {values} in "
            f"{wrong.size} voxel{'s' * (wrong.size > 1)}. Correct the file or declare the label."
        )


def _check_grid(file: Path, array: NDArray, properties: dict, other: Path, expected: NDArray, grid: dict) -> None:
    """Refuse a file that does not lie on the voxels of ``other``."""
    remedy = "Resample it onto that image, or copy that header if only the header is wrong (--no_check skips this)."
    if array.shape[1:] != expected.shape[1:]:
        raise UserError(
            f"{file}: expected the shape {expected.shape[1:]} of {other.name}, got {array.shape[1:]}. {remedy}"
        )
    spacing, reference = (np.asarray(each["spacing"], float) for each in (properties, grid))
    if not np.allclose(spacing, reference):
        raise UserError(
            f"{file}: expected the spacing {_numbers(reference)} mm of {other.name}, got {_numbers(spacing)}. {remedy}"
        )
    apart = _voxels_apart(_affine(properties), _affine(grid), array.shape[1:])
    if apart > TOLERANCE:
        raise UserError(
            f"{file}: expected the origin and direction of {other.name}, found it up to {apart:.3g} voxels "
            f"away. {remedy}"
        )


def _affine(properties: dict) -> NDArray | None:
    """Map from voxel (x, y, z) to mm; None for formats that know of no place in space."""
    if "sitk_stuff" in properties:
        space = {
            key: np.asarray(value, float)
            for key, value in properties["sitk_stuff"].items()
            if key in ("spacing", "origin", "direction")
        }
        axes = len(space["spacing"])
        affine = np.eye(4)
        spatial = min(axes, 3)
        direction = space["direction"].reshape(axes, axes) * space["spacing"]
        affine[:spatial, :spatial] = direction[:spatial, :spatial]
        affine[:spatial, 3] = space["origin"][:spatial]
        return affine
    affines = properties.get("nibabel_stuff", {})
    return affines.get("reoriented_affine", affines.get("original_affine"))


def _voxels_apart(one: NDArray | None, other: NDArray | None, shape: Iterable[int]) -> float:
    """The largest distance between equal corners of two grids of one shape (Z, Y, X), in voxels."""
    if one is None or other is None:
        return 0.0
    z, y, x = (size - 1 for size in shape)
    corners = np.array([[i, j, k, 1] for i in (0, x) for j in (0, y) for k in (0, z)], float).T
    distance = np.linalg.norm(((one - other) @ corners)[:3], axis=0).max()
    return float(distance / np.linalg.norm(one[:3, :3], axis=0).min())


def _numbers(values: NDArray) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
