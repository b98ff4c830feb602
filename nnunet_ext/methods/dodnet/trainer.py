"""The collection trainer with DoDNet's network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

from nnunet_ext.collection.network.dodnet import DoDNet
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.collection.training.trainer import MultiTaskTrainer


class DoDNetTrainer(MultiTaskTrainer):
    """DoDNet [0] on the plans of a collection: one network whose last layers are made for each image and task.

    Differences from the authors' training: nnU-Net v2's spacing, normalization, augmentation, loss and foreground
    sampling, by member; softmax or sigmoid as the task's labels say (theirs: sigmoids of organ and tumour, with missing
    channels marked by a voxel's value); a batch holds one task unless ``multi_dataset.mixed_batches`` is set; tasks are
    trained equally often (theirs: in proportion to their cases, here ``multi_dataset.sampling=proportional``). SGD 0.01
    with Nesterov momentum 0.99 and polynomial decay are theirs too; nnU-Net adds weight decay 3e-5 (theirs: none, here
    ``weight_decay=0``; the argument of their code is not passed on) and clips gradients at 12 (theirs: not at all).

    Knobs (plans block ``nnunet_ext.dodnet``): ``head_width``, ``head_depth``, ``deep_supervision``, ``condition``.

    [0] Zhang et al., DoDNet, CVPR 2021, https://arxiv.org/abs/2011.10217
    """

    method: ClassVar = "dodnet"

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

    @classmethod
    def task_network_on(
        cls,
        unet: PlainConvUNet | ResidualEncoderUNet,
        knobs: Mapping[str, Any],
        table: TaskTable,
        patch_size: Sequence[int],
    ) -> DoDNet:
        """Build DoDNet for the tasks of the table."""
        return DoDNet.planned(unet, knobs, table)

    @classmethod
    def unet_outputs(cls, knobs: Mapping[str, Any], table: TaskTable) -> int:
        """What the dynamic head works on."""
        return knobs["head_width"]
