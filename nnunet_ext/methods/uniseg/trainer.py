"""The collection trainer with UniSeg's network."""

from __future__ import annotations

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.base.knobs import resolve_for
from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.collection.training.trainer import MultiTaskTrainer, bind, read_table
from nnunet_ext.methods.uniseg.architecture import UniSeg
from nnunet_ext.networks.unet import planned_unet


class UniSegTrainer(MultiTaskTrainer):
    """UniSeg [0] on the plans of a collection: one network, a learnable prompt, heads that all tasks share.

    What differs from the authors' training: each member keeps its own spacing and nnU-Net v2's normalisation (theirs:
    CT to [0, 1]); nnU-Net v2's augmentation and loss; the tasks' order is exact per epoch (theirs approximately);
    logits are cut to the task's classes before softmax, at inference too.

    Knob (plans block ``nnunet_ext.uniseg``): ``v1_decoder_kernels``.

    [0] Ye et al., UniSeg, MICCAI 2023, https://arxiv.org/abs/2304.03493
    """

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> TaskNetwork:
        """Build UniSeg for the tasks in the plans, bound to the one that a view's plans name."""
        table = read_table(UniSegTrainer.__name__, plans_manager.plans)
        unet = planned_unet(plans_manager, configuration_manager, 1, table.max_heads, enable_deep_supervision)
        shifted = resolve_for(plans_manager, configuration_manager)["uniseg"]["v1_decoder_kernels"]
        network = UniSeg(
            unet,
            heads=table.heads,
            channels=table.channel_numbers,
            patch_size=configuration_manager.patch_size,
            decoder_kernel_sizes=unet.encoder.kernel_sizes[1:] if shifted else None,
        )
        return bind(network, table)
