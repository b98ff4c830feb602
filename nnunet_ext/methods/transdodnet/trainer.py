"""The collection trainer with TransDoDNet's network."""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.base.knobs import resolve_for
from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.collection.training.trainer import MultiTaskTrainer, bind, read_table
from nnunet_ext.methods.transdodnet.architecture import TransDoDNet
from nnunet_ext.methods.transdodnet.card import CARD
from nnunet_ext.networks.unet import planned_unet


class TransDoDNetTrainer(MultiTaskTrainer):
    """TransDoDNet [0] on the plans of a collection: one network, a query per task, heads made for the task.

    Optimiser and learning rate are the authors', AdamW 2e-4, weight decay 1e-4, a hundredth of the epochs of warm-up,
    where the plans name no ``optimizer``: larger steps, nnU-Net's SGD 0.01 too, silence most of the controller's units,
    and tasks may be lost (``docs/results.md``). After each epoch the log tells the share of silent units.

    What differs from the authors' training: gradients are clipped at nnU-Net's 12 (theirs: 0.1); weights decay in
    all parameters alike; softmax or sigmoid and the loss as the task's own labels say (theirs: sigmoids of organ and
    tumour); each member's own spacing, normalisation and nnU-Net's augmentation; deep supervision.

    Knobs: plans block ``nnunet_ext.transdodnet``, see the method's page.

    [0] Xie et al., Learning from partially labeled data for multi-organ and tumor segmentation, TPAMI 2023,
    https://arxiv.org/abs/2211.06894
    """

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

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> TaskNetwork:
        """Build TransDoDNet for the tasks in the plans, bound to the one that a view's plans name."""
        table = read_table(TransDoDNetTrainer.__name__, plans_manager.plans)
        unet = planned_unet(plans_manager, configuration_manager, 1, table.max_heads, enable_deep_supervision)
        knobs: dict[str, Any] = resolve_for(plans_manager, configuration_manager)["transdodnet"]
        network = TransDoDNet(unet, heads=table.heads, channels=table.channel_numbers, **knobs)
        return bind(network, table)

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
