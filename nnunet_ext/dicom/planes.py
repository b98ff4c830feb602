"""From the places that slices claim to a grid of voxels, or the one line that says why they are none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from highdicom import AxisHandedness, VolumeGeometry
from highdicom.spatial import create_affine_matrix_from_attributes
from numpy.typing import NDArray

from nnunet_ext.errors import UserError

TOLERANCE = 0.1  # of a voxel: scanners round positions, some to 0.1 mm
SAME_DIRECTION = 1e-4  # of direction cosines
ROUNDED = 1e-3  # of products of direction cosines, some with three decimals
SAME_PLACE = 0.01  # mm
RESAMPLE = "Resample the series to an even grid, or export a reconstruction without this."


@dataclass(frozen=True)
class Planes:
    """What the headers say of each of N slices, in any order.

    Args:
        where: The series, for messages.
        names: Of the slices, for messages: files or frames.
        sizes: (N, 2), rows and columns.
        spacings: (N, 2), mm between rows, and between columns.
        orientations: (N, 6), ImageOrientationPatient: direction of increasing column, then of increasing row, LPS.
        positions: (N, 3), ImagePositionPatient: centre of the first voxel of a slice, LPS, mm.
    """

    where: str
    names: list[str]
    sizes: NDArray[np.int64]
    spacings: NDArray[np.float64]
    orientations: NDArray[np.float64]
    positions: NDArray[np.float64]

    def grid(self, frame_of_reference: str) -> tuple[NDArray[np.intp], VolumeGeometry]:
        """Return the order of the slices along their normal, rows x columns, and the grid of their voxels.

        A slice may be off its place in the grid by a tenth of a voxel.

        Args:
            frame_of_reference: UID of the coordinate system.

        Returns:
            The order (N,), and the geometry with axes (slice, row, column): SimpleITK's order for a DICOM series.

        Raises:
            UserError: There is only one slice, or slices differ in size, spacing or orientation, are missing or
                there twice, are spaced unevenly, or are sheared.
        """
        if len(self.names) == 1:
            raise UserError(
                f"{self.where}: expected the slices of a volume, found one slice, as in a localizer. Choose another "
                f"series."
            )
        self._check_alike()
        x, y = self._directions()
        normal = np.cross(x, y)
        along = self.positions @ normal
        order = np.argsort(along, kind="stable")
        self._check_steps(order, along[order])
        self._check_shear(order, normal)
        step = (along[order[-1]] - along[order[0]]) / (len(order) - 1)
        affine = create_affine_matrix_from_attributes(
            self.positions[order[0]],
            np.concatenate([x, y]),
            self.spacings[0],
            float(step),
            index_convention="DR",
            slices_first=True,
            handedness=AxisHandedness.LEFT_HANDED,  # the slice axis along the normal, as SimpleITK orders slices
        )
        shape = (len(order), *map(int, self.sizes[0]))
        return order, VolumeGeometry(affine, shape, "PATIENT", frame_of_reference)

    def _directions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the directions of increasing column and row, of which the tag has rounded numbers, at right angles."""
        x, y = self.orientations[0, :3], self.orientations[0, 3:]
        if max(abs(x @ x - 1), abs(y @ y - 1), abs(x @ y)) > ROUNDED:
            raise UserError(
                f"{self.where}: expected ImageOrientationPatient of two unit vectors at right angles, found "
                f"{_numbers(self.orientations[0])}. Correct the tag, or export the series again."
            )
        x = x / np.linalg.norm(x)
        y = y - (x @ y) * x
        return x, y / np.linalg.norm(y)

    def _check_alike(self) -> None:
        for values, tolerance, what in (
            (self.sizes, 0, "rows and columns"),
            (self.spacings, 1e-3 * self.spacings[0].min(), "mm between rows and columns"),
            (self.orientations, SAME_DIRECTION, "direction cosines"),
        ):
            other = np.abs(values - values[0]).max(axis=1) > tolerance
            if other.any():
                place = int(np.argmax(other))
                raise UserError(
                    f"{self.where}: expected slices of one size, spacing and orientation, found {what} "
                    f"{_numbers(values[0])} in {self.names[0]} and {_numbers(values[place])} in {self.names[place]}. "
                    f"Leave only the slices of one volume in the folder."
                )

    def _check_steps(self, order: NDArray[np.intp], along: NDArray[np.float64]) -> None:
        """Refuse slices in one place, gaps and uneven steps."""
        names = [self.names[place] for place in order]
        steps = np.diff(along)
        twice = np.flatnonzero(steps < SAME_PLACE)
        if twice.size:
            first = int(twice[0])
            raise UserError(
                f"{self.where}: expected one slice in each place, found {twice.size} in the place of another, such as "
                f"{names[first]} and {names[first + 1]}. Remove copies; put echoes or time points into folders of "
                f"their own."
            )
        off = np.abs(along - np.linspace(along[0], along[-1], len(along)))
        if off.max() <= TOLERANCE * steps.mean():
            return
        usual = float(np.median(steps))
        times = np.rint(steps / usual)
        gaps = np.flatnonzero(times > 1)
        if gaps.size and gaps.size <= max(1, len(steps) // 5) and np.abs(steps / usual - times).max() <= 2 * TOLERANCE:
            first, missing = int(gaps[0]), int((times - 1).sum())
            raise UserError(
                f"{self.where}: expected slices without gaps, found {missing} missing, the first between "
                f"{names[first]} and {names[first + 1]} ({steps[first]:.4g} mm apart instead of {usual:.4g}). Export "
                f"the whole series again."
            )
        raise UserError(
            f"{self.where}: expected evenly spaced slices, found {steps.min():.4g} to {steps.max():.4g} mm from one to "
            f"the next. {RESAMPLE}"
        )

    def _check_shear(self, order: NDArray[np.intp], normal: NDArray[np.float64]) -> None:
        """Refuse slices that are not straight above each other, as with a tilted gantry."""
        shift = self.positions - self.positions[order[0]]
        height = shift @ normal
        sideways = np.linalg.norm(shift - np.outer(height, normal), axis=1)
        if sideways.max() <= TOLERANCE * self.spacings[0].min():
            return
        worst = int(np.argmax(sideways))
        angle = np.degrees(np.arctan2(sideways[worst], height[worst]))
        raise UserError(
            f"{self.where}: expected slices straight above each other, found {self.names[worst]} "
            f"{sideways[worst]:.4g} mm aside, as with a gantry tilted by {angle:.3g} degrees. {RESAMPLE}"
        )


def _numbers(values: NDArray[np.generic]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values.tolist()) + ")"
