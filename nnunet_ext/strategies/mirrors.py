"""Trainers whose mirroring is a knob."""

from __future__ import annotations

from typing import Any

from nnunet_ext.errors import UserError

KNOB = "mirror_axes"


class Mirrors:
    """Mix-in for trainers, left of ``nnUNetTrainer``: mirrors along the axes of the knob ``mirror_axes``.

    Augmentation, the checkpoint and prediction (nnU-Net's test-time augmentation) take the same axes: those of a patch,
    in the order of the plans. null leaves them to nnU-Net, which mirrors along all; [] is no mirroring.

    Raises:
        UserError: The configuration has no such axis, as axis 2 in 2d.
    """

    knobs: dict[str, Any]
    configuration_manager: Any
    configuration_name: str
    inference_allowed_mirroring_axes: tuple[int, ...] | None

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(  # noqa: N802  (nnU-Net's name)
        self,
    ) -> tuple[Any, bool, Any, tuple[int, ...] | None]:
        """Return what stock does, with the knob's axes instead of its own."""
        rotation, dummy_2d, initial_patch_size, axes = (
            super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()  # type: ignore[misc]
        )
        wanted, dimensions = self.knobs[KNOB], len(self.configuration_manager.patch_size)
        if wanted is not None:
            if any(axis >= dimensions for axis in wanted):
                raise UserError(
                    f"configuration {self.configuration_name!r}, knob {KNOB!r}: expected axes of a patch, from 0 to "
                    f"{dimensions - 1}, got {wanted}. Correct it."
                )
            axes = self.inference_allowed_mirroring_axes = tuple(sorted(wanted)) or None  # [] would end in an error
        return rotation, dummy_2d, initial_patch_size, axes
