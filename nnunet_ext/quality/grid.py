"""The voxel grid of an image: its place in the patient, and in what it differs from that of a label map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from nibabel.orientations import io_orientation, ornt2axcodes
from numpy.typing import NDArray

from nnunet_ext.errors import UserError

TOLERANCE = 0.1  # voxels; headers carry rounding errors
FLAT = 1e-6  # volume spanned by three directions that lie in one plane, but for rounding
CORRECT = "Correct the header, or export the file again."
OF_RAS = np.array([[-1.0], [-1.0], [1.0], [1.0]])
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Grid:
    """The grid of an array (D, H, W) as nnU-Net's readers return it, for most formats (Z, Y, X).

    Args:
        shape: Voxels (D, H, W).
        spacing: Voxel size (D, H, W) in mm.
        affine: 4 x 4, from voxel (x, y, z) to mm towards left, back and head (LPS); None for formats without a place
            in space.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    affine: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, shape: Sequence[int], properties: Mapping[str, Any], where: str = "image") -> Grid:
        """Read the grid from what an nnU-Net reader noted of a file.

        Args:
            shape: (D, H, W).
            properties: The reader's.
            where: The file, for messages.

        Raises:
            UserError: A voxel size or an axis is zero or no number, or axes lie in one plane.
        """
        spacing = tuple(float(step) for step in properties["spacing"])
        if not all(0 < step < math.inf for step in spacing):
            raise UserError(f"{where}: expected voxel sizes above 0 in the header, found {spacing} mm. {CORRECT}")
        affine = _affine(properties)
        if affine is not None and not _spans_space(affine):
            raise UserError(
                f"{where}: expected three axes that span space in the header (sform, direction), found "
                f"{affine[:3, :3].T.tolist()} and the origin {affine[:3, 3].tolist()}. {CORRECT}"
            )
        return cls(tuple(map(int, shape)), spacing, affine)

    @property
    def is_flat(self) -> bool:
        """Whether it is a 2d image, a single slice."""
        return self.shape[0] == 1

    @property
    def unit(self) -> str:
        """Of the size of a class: ``ml``, or ``cm²`` in a 2d image."""
        return "cm²" if self.is_flat else "ml"

    @property
    def voxel_size(self) -> float:
        """Of one voxel, in :attr:`unit`."""
        steps = self.spacing[1:] if self.is_flat else self.spacing
        return float(np.prod(steps)) / (100 if self.is_flat else 1000)

    @property
    def orientation(self) -> str | None:
        """Directions in which x, y and z of the voxels grow, such as ``LPS``; None without a place in space."""
        if self.affine is None:
            return None
        return "".join(ornt2axcodes(io_orientation(self.affine), (("R", "L"), ("A", "P"), ("I", "S"))))

    def canonical(self, array: NDArray[Number]) -> NDArray[Number]:
        """Return a view of an array (D, H, W) whose axes run towards head, back and left, in this order.

        Without a place in space, the array itself.
        """
        order, backward = self._turn()
        turned = array.transpose(order)
        return turned[tuple(slice(None, None, -1 if flip else None) for flip in backward)]

    def canonical_spacing(self) -> tuple[float, ...]:
        """Return the voxel size in mm in the axis order of :meth:`canonical`."""
        return tuple(self.spacing[axis] for axis in self._turn()[0])

    def difference(self, other: Grid) -> str | None:
        """Return in what this grid, of a prediction, differs from that of its image; None if they are the same."""
        if self.shape != other.shape:
            return f"{_voxels(self.shape)} voxels, the image has {_voxels(other.shape)}"
        if not np.allclose(self.spacing, other.spacing):
            return f"voxels of {_size(self.spacing)} mm, the image has {_size(other.spacing)} mm"
        if self.affine is None or other.affine is None:
            return None
        corners = np.array([[*place[::-1], 1] for place in np.ndindex(2, 2, 2)], float).T
        corners[:3] *= np.array([[size - 1] for size in self.shape[::-1]])
        apart = np.linalg.norm(((self.affine - other.affine) @ corners)[:3], axis=0).max()
        voxels = float(apart / np.linalg.norm(other.affine[:3, :3], axis=0).min())
        return None if voxels <= TOLERANCE else f"another origin or direction, up to {voxels:.3g} voxels away"

    def _turn(self) -> tuple[list[int], list[bool]]:
        """The array's axes in canonical order, and which of them run backwards."""
        if self.affine is None:
            return [0, 1, 2], [False] * 3
        turn = io_orientation(self.affine)  # for x, y and z of the voxels: the axis of space, and its sign
        voxel_axes = [int(np.flatnonzero(turn[:, 0] == space)[0]) for space in (2, 1, 0)]
        return [2 - axis for axis in voxel_axes], [bool(turn[axis, 1] < 0) for axis in voxel_axes]


def _affine(properties: Mapping[str, Any]) -> NDArray[np.float64] | None:
    if "sitk_stuff" in properties:
        space = {name: np.asarray(properties["sitk_stuff"][name], float) for name in ("spacing", "origin", "direction")}
        axes = len(space["spacing"])
        spatial = min(axes, 3)
        affine = np.eye(4)
        affine[:spatial, :spatial] = (space["direction"].reshape(axes, axes) * space["spacing"])[:spatial, :spatial]
        affine[:spatial, 3] = space["origin"][:spatial]
        return affine
    affines = properties.get("nibabel_stuff", {})
    found = affines.get("reoriented_affine", affines.get("original_affine"))
    return None if found is None else OF_RAS * np.asarray(found, float)


def _spans_space(affine: NDArray[np.float64]) -> bool:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and lengths.all()):
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > FLAT)


def _voxels(shape: Sequence[int]) -> str:
    return " x ".join(map(str, reversed(shape)))


def _size(spacing: Sequence[float]) -> str:
    return " x ".join(f"{step:.4g}" for step in reversed(spacing))
