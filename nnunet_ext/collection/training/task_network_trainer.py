"""A trainer whose network has tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor

from nnunet_ext.base.knobs import resolve_for
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.collection.task_table import TaskTable, read_table
from nnunet_ext.networks.unet import planned_unet


class TaskNetworkTrainer(ExtTrainer):
    """Builds a method's :class:`TaskNetwork` for the tasks that the plans name.

    A method builds its network in :meth:`task_network_on`.
    """

    table: TaskTable
    keeps_no_classes = "whose tasks are annotated each for its own classes"

    @classmethod
    def task_network_on(
        cls, unet: Any, knobs: Mapping[str, Any], table: TaskTable, patch_size: Sequence[int]
    ) -> TaskNetwork:
        """Return the method's network.

        Args:
            unet: The PlainConvUNet or ResidualEncoderUNet that the plans describe, for images of one channel.
            knobs: Those of :meth:`network_knobs`.
            table: The tasks.
            patch_size: (D, H, W).
        """
        raise NotImplementedError

    @classmethod
    def network_knobs(cls, knobs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return, of all knobs, those that :meth:`task_network_on` gets: the method's own."""
        own: Mapping[str, Any] = knobs[cls.method]
        return own

    @classmethod
    def unet_outputs(cls, knobs: Mapping[str, Any], table: TaskTable) -> int:
        """Return the number of outputs of the U-Net that the method's network is put on."""
        return table.max_heads

    @classmethod
    def has_own_network(cls) -> bool:
        """Networks of tasks are never the plans' own."""
        return True

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> TaskNetwork:
        """Build the network for the tasks in the plans, bound to the one that a view's plans name."""
        table = read_table(cls.__name__, plans_manager.plans)
        knobs = cls.network_knobs(resolve_for(plans_manager, configuration_manager))
        outputs = cls.unet_outputs(knobs, table)
        unet = planned_unet(plans_manager, configuration_manager, 1, outputs, enable_deep_supervision)
        network = cls.task_network_on(unet, knobs, table, configuration_manager.patch_size)
        if table.bound is not None:
            network.set_task(table.index(table.bound))
        return network

    @property
    def task_network(self) -> TaskNetwork:
        """The network without wrappers."""
        return self.bare_network  # type: ignore[return-value]

    def weights_to_start_from(self, checkpoint: dict[str, Any]) -> Mapping[str, Tensor]:
        """Return the checkpoint's weights; another collection's are moved to their tasks' new places, by name."""
        weights = super().weights_to_start_from(checkpoint)
        theirs = TaskTable.read(checkpoint.get("init_args", {}).get("plans", {}))
        if theirs is None:
            return weights
        names = [task.name for task in theirs.tasks]
        places = [names.index(task.name) if task.name in names else None for task in self.table.tasks]
        return self.task_network.adopt(weights, theirs.heads, places)
