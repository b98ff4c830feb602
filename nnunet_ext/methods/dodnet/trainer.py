"""The collection trainer with DoDNet's network."""

from __future__ import annotations

import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.base.knobs import resolve_for
from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.collection.training.trainer import MultiTaskTrainer, bind, read_table
from nnunet_ext.methods.dodnet.architecture import DoDNet
from nnunet_ext.networks.unet import planned_unet


class DoDNetTrainer(MultiTaskTrainer):
    """DoDNet [0] on the plans of a collection: one network whose last layers are made for each image and task.

    What differs from the authors' training: nnU-Net v2's spacing, normalisation, augmentation, loss and foreground
    sampling, by member; softmax or sigmoid as the task's labels say (theirs: sigmoids of organ and tumour, with missing
    channels marked by a voxel's value); a batch holds one task unless ``multi_dataset.mixed_batches`` is set; tasks are
    trained equally often (theirs: in proportion to their cases, here ``multi_dataset.sampling=proportional``). SGD 0.01
    with Nesterov momentum 0.99 and polynomial decay are theirs too; nnU-Net adds weight decay 3e-5 (theirs: none, here
    ``weight_decay=0``; the argument of their code is not passed on) and clips gradients at 12 (theirs: not at all).

    Knobs (plans block ``nnunet_ext.dodnet``): ``head_width``, ``head_depth``, ``deep_supervision``, ``condition``.

    [0] Zhang et al., DoDNet, CVPR 2021, https://arxiv.org/abs/2011.10217
    """

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  (nnU-Net's signature)
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.enable_deep_supervision = self.knobs["dodnet"]["deep_supervision"]

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> TaskNetwork:
        """Build DoDNet for the tasks in the plans, bound to the one that a view's plans name."""
        table = read_table(DoDNetTrainer.__name__, plans_manager.plans)
        knobs = resolve_for(plans_manager, configuration_manager)["dodnet"]
        unet = planned_unet(plans_manager, configuration_manager, 1, knobs["head_width"], enable_deep_supervision)
        network = DoDNet(
            unet,
            heads=table.heads,
            channels=table.channel_numbers,
            depth=knobs["head_depth"],
            deep_supervision=knobs["deep_supervision"],
            condition=knobs["condition"],
        )
        return bind(network, table)
