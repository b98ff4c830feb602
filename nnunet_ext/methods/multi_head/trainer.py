"""The collection trainer with a set of heads per task."""

from __future__ import annotations

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.collection.training.trainer import MultiTaskTrainer, bind, read_table
from nnunet_ext.methods.multi_head.architecture import MultiHead
from nnunet_ext.networks.unet import planned_unet


class MultiHeadTrainer(MultiTaskTrainer):
    """The control for UniSeg: the same machinery and plans, no prompt, one set of heads per task as MultiTalent [0].

    [0] Ulrich et al., MultiTalent, MICCAI 2023, https://arxiv.org/abs/2303.14444
    """

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> TaskNetwork:
        """Build the network for the tasks in the plans, bound to the one that a view's plans name."""
        table = read_table(MultiHeadTrainer.__name__, plans_manager.plans)
        unet = planned_unet(plans_manager, configuration_manager, 1, sum(table.heads), enable_deep_supervision)
        network = MultiHead(unet, heads=table.heads, channels=table.channel_numbers)
        return bind(network, table)
