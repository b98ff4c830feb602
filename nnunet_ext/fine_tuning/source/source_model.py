"""The model that a fine-tuning starts from, wherever it lies: its weights, and what they were trained with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor

from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.data.dataset_json import is_collection
from nnunet_ext.errors import UserError, nearest, one_line
from nnunet_ext.nnssl.adaptation_plan import AdaptationPlan

OF_PLANS = ("transpose_forward", "foreground_intensity_properties_per_channel")
OF_CONFIGURATION = ("patch_size", "spacing", "batch_size", "normalization_schemes", "use_mask_for_norm", "architecture")


@dataclass(frozen=True)
class SourceModel:
    """A trained model of nnU-Net's, stock or ours, or an encoder that nnssl pre-trained.

    Args:
        file: The checkpoint, or the zip file that it is in; for messages.
        plans: Its plans, as they were stored.
        configuration_name: The configuration that was trained.
        dataset_json: Its dataset.json; None if nothing says it.
        weights: The network's tensors by name.
        trainer: Name of its trainer; empty if the checkpoint does not say it.
        mirroring_axes: Axes of a patch along which the training mirrored; None: none.
        pretraining: Of a checkpoint of nnssl, whose weights are those of an encoder; None: it is a segmentation model.

    Raises:
        UserError: The plans have no such configuration; or it is one whose weights no other data can take: of a
            collection, or the second stage of a cascade.
    """

    file: Path
    plans: dict[str, Any]
    configuration_name: str
    dataset_json: dict[str, Any] | None
    weights: Mapping[str, Tensor] = field(repr=False)
    trainer: str
    mirroring_axes: tuple[int, ...] | None
    pretraining: AdaptationPlan | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a source."""
        table = TaskTable.read(self.plans)
        manifest = self.dataset_json is not None and is_collection(self.dataset_json)
        if manifest or (table is not None and table.bound is None):
            tasks = ", ".join(task.name for task in table.tasks) if table else "its tasks"
            raise UserError(
                f"{self.file}: expected the model of one dataset, found that of a collection, which has no classes of "
                f"its own. Give the model folder of a task's view ({tasks}); nnunet_ext task_views writes them."
            )
        self._check_configuration()
        if missing := [key for key in OF_PLANS if key not in self.plans] + [
            key for key in OF_CONFIGURATION if key not in self.configuration
        ]:
            raise UserError(
                f"{self.file}: expected plans of nnU-Net v2 with {missing[0]!r}, found none. Give the plans that the "
                f"weights were trained with."
            )

    def _check_configuration(self) -> None:
        planned = self.plans["configurations"]
        if self.configuration_name not in planned:
            raise UserError(
                f"{self.file}: expected plans with the configuration that was trained, {self.configuration_name!r}. "
                f"{nearest(self.configuration_name, planned)}"
            )
        if previous := self.configuration.get("previous_stage"):
            raise UserError(
                f"{self.file}: expected a model that takes images alone, found the second stage of a cascade "
                f"({self.configuration_name}), whose input has the labels of {previous}. Take a model of its "
                f"3d_fullres or {previous}."
            )

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """The configuration with what it inherits, and with its architecture also where older plans had none."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the older format, which is completed here
            try:
                manager = PlansManager(dict(self.plans)).get_configuration(self.configuration_name)
            except (KeyError, RuntimeError, ValueError) as error:
                raise UserError(
                    f"{self.file}: expected a configuration {self.configuration_name!r} of nnU-Net's, which cannot be "
                    f"read ({type(error).__name__}: {one_line(error)}). Give the plans that the weights were trained "
                    f"with."
                ) from error
        found: dict[str, Any] = manager.configuration
        return found

    @property
    def architecture(self) -> dict[str, Any]:
        """The network as the plans describe it."""
        found: dict[str, Any] = self.configuration["architecture"]
        return found

    @property
    def dimensions(self) -> int:
        """Axes of a patch, 2 or 3."""
        return len(self.configuration["patch_size"])

    @property
    def patch_size(self) -> tuple[int, ...]:
        """Voxels in the order of the plans, after transposition."""
        return tuple(int(size) for size in self.configuration["patch_size"])

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """In mm, of each axis of a patch, in the order of the plans; None: it was pre-trained without a common one."""
        found = self.configuration["spacing"]
        return None if found is None and self.pretraining else tuple(float(step) for step in found)

    @property
    def transpose(self) -> tuple[int, ...]:
        """``transpose_forward``: which axis of the image is the first in the plans, and so on."""
        return tuple(int(axis) for axis in self.plans["transpose_forward"])

    @property
    def volume_spacing(self) -> tuple[float, ...] | None:
        """Like :attr:`spacing`, of three axes: for 2d, slices have the median distance; None: unknown."""
        median = self.plans.get("original_median_spacing_after_transp")
        if self.dimensions == 3:
            return self.spacing
        return None if median is None or self.spacing is None else (float(median[0]), *self.spacing)

    @property
    def channel_names(self) -> list[str] | None:
        """Names of the channels in their order; None: unknown."""
        if self.dataset_json is None:
            return None
        names = self.dataset_json.get("channel_names", self.dataset_json.get("modality"))
        return [str(name) for name in names.values()] if isinstance(names, dict) else None

    @property
    def classes(self) -> list[str] | None:
        """Names of the labels or regions, without background and ignore; None: unknown."""
        if self.dataset_json is None:
            return None
        return [name for name in self.dataset_json["labels"] if name not in ("background", "ignore")]


def trained_configuration(
    file: Path, arguments: Mapping[str, Any], plans: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> str:
    """Return the name of the configuration that a checkpoint belongs to.

    Args:
        file: The checkpoint, for messages.
        arguments: Its ``init_args``.
        plans: Its plans.
        weights: Its weights: where nothing names the configuration, it is the only one with their dimensions.

    Raises:
        UserError: Several could be it.
    """
    if "configuration" in arguments:
        return str(arguments["configuration"])
    planned = plans["configurations"]
    dimensions = next((tensor.ndim - 2 for tensor in weights.values() if tensor.ndim in (4, 5)), None)
    fitting: Sequence[str] = [
        name
        for name, entry in planned.items()
        if "previous_stage" not in entry and len(entry.get("patch_size", ())) == dimensions
    ]
    if len(fitting) != 1:
        raise UserError(
            f"{file}: expected a checkpoint that names its configuration, or plans with one of its dimensions, found "
            f"{', '.join(fitting) or 'none'}. Leave only the configuration that was trained in a copy of the plans."
        )
    return fitting[0]
