"""The plans that a dataset would have on its own, and those of the same planner at another spacing."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from nnunetv2.utilities.json_export import recursive_fix_for_json_export
from numpy.typing import NDArray

from nnunet_ext.errors import UserError, nearest

NOT_PLANNED = ("inherits_from", "previous_stage")


class OwnPlans:
    """A dataset's own plans; nothing is written.

    Args:
        dataset: Its name.
        planner: A planner of nnU-Net's or ours.
        plans_name: What the data folders will be named after.
        options: The planner's further arguments.
    """

    def __init__(self, dataset: str, planner: type, plans_name: str, **options: Any) -> None:
        unsaved = type(planner.__name__, (planner,), {"save_plans": _keep})  # plans name their planner
        with contextlib.redirect_stdout(io.StringIO()):  # plans that nobody will train with
            self.planner: Any = unsaved(dataset, plans_name=plans_name, **options)
            self.plans: dict[str, Any] = self.planner.plan_experiment()

    @property
    def channels(self) -> list[str]:
        """Names of the channels."""
        description = self.planner.dataset_json
        return [str(name) for name in description.get("channel_names", description.get("modality")).values()]

    @property
    def labels(self) -> dict[str, Any]:
        """The labels of dataset.json."""
        found: dict[str, Any] = self.planner.dataset_json["labels"]
        return found

    @property
    def transpose(self) -> tuple[int, ...]:
        """``transpose_forward``."""
        return tuple(self.plans["transpose_forward"])

    def base(self, wanted: str | None, like: str, dimensions: int) -> str:
        """Return the name of the configuration that takes another network.

        Args:
            wanted: Its name, if the user chose.
            like: The source's configuration: the one of this name is taken, else 3d_fullres or 2d.
            dimensions: Axes of the source's patches.

        Raises:
            UserError: The data have none of that name or dimensions.
        """
        planned = {
            name: entry for name, entry in self.plans["configurations"].items() if not set(NOT_PLANNED) & entry.keys()
        }
        fitting = [name for name, entry in planned.items() if len(entry["patch_size"]) == dimensions]
        if wanted is not None and wanted not in planned:
            raise UserError(
                f"-c {wanted}: not among the configurations that {self.planner.dataset_name} has of its own. "
                f"{nearest(wanted, fitting)}"
            )
        name = wanted or (like if like in fitting else "2d" if dimensions == 2 else "3d_fullres")
        if name not in fitting:
            found = f"a {dimensions}d model ({like})"
            what = f"configuration {name}" if name in planned else "2d images alone"
            remedy = (
                f"Give -c {' or '.join(fitting)}, or a model of the other kind."
                if fitting
                else "Take a model of configuration 2d."
            )
            raise UserError(
                f"--from: expected a model of the dimensions of {what} of {self.planner.dataset_name}, found {found}, "
                f"whose kernels have {dimensions} axes. {remedy}"
            )
        return name

    def image_spacing(self, configuration: str) -> NDArray[np.float64]:
        """Return the planned spacing in mm in the axis order of the images."""
        full: NDArray[np.float64] = np.asarray(self.planner.determine_fullres_target_spacing(), dtype=float)
        planned = self.plans["configurations"][configuration]["spacing"]
        if len(planned) == 3:  # that of 3d_lowres is its own
            full = np.empty(3)
            full[list(self.transpose)] = planned
        return full

    @cached_property
    def median_spacing(self) -> NDArray[np.float64]:
        """Median over the images in mm, in their axis order."""
        return np.asarray(np.median(self.planner.dataset_fingerprint["spacings"], 0))

    @cached_property
    def median_shape(self) -> NDArray[np.float64]:
        """Median over the images after cropping, in voxels, in their axis order."""
        return np.asarray(np.median(self.planner.dataset_fingerprint["shapes_after_crop"], 0))

    def shape_at(self, spacing: Sequence[float]) -> NDArray[np.float64]:
        """Return the median shape of the images at a spacing; both in the axis order of the images."""
        print_of = self.planner.dataset_fingerprint
        pairs = zip(print_of["spacings"], print_of["shapes_after_crop"], strict=True)
        return np.asarray(np.median([compute_new_shape(shape, step, spacing) for step, shape in pairs], 0))

    def voxels_at(self, spacing: Sequence[float]) -> float:
        """Return about how many voxels all training images have at a spacing."""
        return float(np.prod(self.shape_at(spacing))) * float(self.planner.dataset_json["numTraining"])

    def configuration_at(
        self,
        spacing: Sequence[float],
        transpose: Sequence[int],
        dimensions: int,
        shape: Sequence[float] | None = None,
    ) -> dict[str, Any]:
        """Return a configuration as the planner makes it at a spacing.

        Args:
            spacing: In mm, of three axes in the order of the images.
            transpose: ``transpose_forward``.
            dimensions: 2 or 3.
            shape: Take this for the median shape of the images, in the order of the plans, of the axes of a patch.
        """
        order = list(transpose)
        steps = np.asarray(spacing, dtype=float)[order][-dimensions:]
        median = self.shape_at(spacing)[order][-dimensions:] if shape is None else np.asarray(shape, dtype=float)
        with contextlib.redirect_stdout(io.StringIO()):
            found: dict[str, Any] = self.planner.get_plans_for_configuration(
                steps, median, self.planner.plans_identifier, self.voxels_at(spacing), {}
            )
        recursive_fix_for_json_export(found)
        return found


def _keep(planner: Any, plans: dict[str, Any]) -> None:
    """Take the place of the planner's ``save_plans``: make the plans what a file would hold."""
    recursive_fix_for_json_export(plans)
