"""One case's images and label: whole files, finite intensities, one grid, declared labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.data.companion_files import spacing_file
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_file import check_finite
from nnunet_ext.data.image_reader import read_image
from nnunet_ext.errors import UserError

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

SKIP = " (--no_check skips this)"
TOLERANCE = 0.1  # voxels between the corners of image and label; headers carry rounding errors


def check_case(
    case: Case, reader: BaseReaderWriter, channels: int, legal: tuple[int, ...], *, filled: bool = False
) -> None:
    """Read a case and refuse what is wrong with it.

    Args:
        case: Its files.
        reader: nnU-Net's reader.
        channels: Image channels of the dataset.
        legal: Values that a label file may hold.
        filled: Refuse an empty image: one value in all voxels of all channels.

    Raises:
        UserError: The first problem.
    """
    images = [read_image(reader, file) for file in case.images]
    first, grid = images[0][0], images[0][1]
    for file, (array, properties) in zip(case.images, images, strict=True):
        check_grid(file, array, properties, case.images[0], first, grid)
        check_finite(file, array)
    _check_channels(case, sum(len(array) for array, _ in images), channels)
    if filled and all(np.ptp(channel) == 0 for array, _ in images for channel in array):
        raise UserError(
            f"{case.images[0]}: expected an image of case {case.name!r}, found it empty: {first.flat[0]:g} in all "
            f"voxels. Export it again or remove the case."
        )
    if case.label is not None:
        label, properties = read_label(case.label, reader, legal)
        if not knows_spacing(case.label):
            properties = properties | {"spacing": grid["spacing"]}
        check_grid(case.label, label, properties, case.images[0], first, grid)


def read_label(file: Path, reader: BaseReaderWriter, legal: tuple[int, ...]) -> tuple[NDArray, dict]:
    """Read a label file whole, as (1, Z, Y, X), and its reader's properties.

    Raises:
        UserError: It is damaged, has several channels or holds another value than the legal ones.
    """
    label, properties = read_image(reader, file, label=True)
    _check_labels(file, label, legal)
    return label, properties


def knows_spacing(label: Path) -> bool:
    """Whether a label file gives its spacing; a .tif without a file beside it does not, which nnU-Net accepts."""
    beside = spacing_file(label, label=True)
    return beside is None or beside.is_file()


def _check_channels(case: Case, found: int, channels: int) -> None:
    if found == channels:
        return
    remedy = "Add the missing ones as _0001, _0002 ..."
    if found > channels:
        remedy = "Remove the surplus (a fourth in a photograph is its transparency), or name them in dataset.json."
    raise UserError(
        f"{case.images[0]}: expected {channels} channel{'s' * (channels > 1)} of case {case.name!r} as "
        f"in dataset.json, found {found}. {remedy}"
    )


def _check_labels(file: Path, label: NDArray, legal: tuple[int, ...]) -> None:
    check_finite(file, label)
    wrong = label[~np.isin(label, legal)]
    if wrong.size:
        found = np.unique(wrong)
        values = ", ".join(np.format_float_positional(value, trim="-") for value in found[:5])
        remedy = "Correct the file or declare the label."
        if (found != np.round(found)).any():
            remedy = "Round the file to whole numbers and save it as integers: nnU-Net truncates fractions."
        raise UserError(
            f"{file}: expected the labels of dataset.json, {min(legal)} to {max(legal)}, found {values} in "
            f"{wrong.size} voxel{'s' * (wrong.size > 1)}. {remedy}"
        )


def check_grid(
    file: Path,
    array: NDArray,
    properties: dict,
    other: Path,
    expected: NDArray,
    grid: dict,
    remedy: str = f"Resample it onto that image, or copy that header if only the header is wrong{SKIP}.",
) -> None:
    """Refuse a file whose voxel grid is not that of another one.

    Args:
        file: The file.
        array: What nnU-Net's reader read from it, (C, Z, Y, X).
        properties: The reader's properties of it.
        other: The other file.
        expected: The array of the other file.
        grid: The properties of the other file.
        remedy: What to do, for the message.

    Raises:
        UserError: Shape, spacing, origin or direction differ.
    """
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
    """Map from voxel (x, y, z) to mm; None for formats without a position in space."""
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
    """The largest distance between corresponding corners of two grids of the same shape (Z, Y, X), in voxels."""
    if one is None or other is None:
        return 0.0
    z, y, x = (size - 1 for size in shape)
    corners = np.array([[i, j, k, 1] for i in (0, x) for j in (0, y) for k in (0, z)], float).T
    distance = np.linalg.norm(((one - other) @ corners)[:3], axis=0).max()
    return float(distance / np.linalg.norm(one[:3, :3], axis=0).min())


def _numbers(values: NDArray) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
