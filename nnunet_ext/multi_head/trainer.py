"""The collection trainer with a set of heads per task."""

from __future__ import annotations

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.errors import UserError
from nnunet_ext.multi_dataset.task_network import TaskNetwork
from nnunet_ext.multi_dataset.trainer import MultiTaskTrainer, bind, read_table, stock_unet
from nnunet_ext.multi_head.architecture import MultiHead


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
        unet = stock_unet(plans_manager, configuration_manager, sum(table.heads), enable_deep_supervision)
        try:
            network = MultiHead(unet, heads=table.heads, channels=table.channel_numbers)
        except TypeError as error:
            raise UserError(f"plans {plans_manager.plans_name!r}: {error}.") from error
        return bind(network, table)
