"""The collection trainer with TransDoDNet's network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.collection.training.trainer import MultiTaskTrainer
from nnunet_ext.methods.transdodnet.architecture import TransDoDNet
from nnunet_ext.methods.transdodnet.card import CARD


class TransDoDNetTrainer(MultiTaskTrainer):
    """TransDoDNet [0] on the plans of a collection: one network, a query per task, heads made for the task.

    Optimizer and learning rate are the authors', AdamW 2e-4, weight decay 1e-4, a warm-up over a hundredth of the
    epochs, where the plans name no ``optimizer``: larger steps, nnU-Net's SGD 0.01 too, silence most of the
    controller's units, and tasks may be lost (``docs/results.md``). After each epoch the log gives the share of silent
    units.

    Differences from the authors' training: gradients are clipped at nnU-Net's 12 (theirs: 0.1); weights decay in
    all parameters alike; softmax or sigmoid and the loss as the task's own labels say (theirs: sigmoids of organ and
    tumour); each member's own spacing, normalization and nnU-Net's augmentation; deep supervision.

    Knobs: plans block ``nnunet_ext.transdodnet``, see the method's page.

    [0] Xie et al., Learning from partially labeled data for multi-organ and tumor segmentation, TPAMI 2023,
    https://arxiv.org/abs/2211.06894
    """

    method: ClassVar = "transdodnet"

    recipe = CARD.recipe

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  (nnU-Net's signature)
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.enable_deep_supervision = self.knobs["transdodnet"]["deep_supervision"]

    @classmethod
    def task_network_on(
        cls,
        unet: PlainConvUNet | ResidualEncoderUNet,
        knobs: Mapping[str, Any],
        table: TaskTable,
        patch_size: Sequence[int],
    ) -> TransDoDNet:
        """Build TransDoDNet for the tasks of the table."""
        return TransDoDNet(unet, heads=table.heads, channels=table.channel_numbers, **knobs)

    def train_step(self, batch: dict) -> dict:
        """Stock step; the epoch's last images are kept for the log."""
        self._images = batch["data"]
        return super().train_step(batch)

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log as stock does, and the controller's silent units on the epoch's last batch."""
        super().on_train_epoch_end(train_outputs)
        network: TransDoDNet = self.bare_network  # type: ignore[assignment]
        network.eval()  # no dropout, so nothing is drawn; the next epoch sets the mode again
        silent = network.silent_units(self._images.to(self.device, non_blocking=True))
        share = 100 * float(silent.float().mean())
        self.print_to_log_file(f"controller: {share:.1f} % of {len(silent)} units below 0 for all queries")
