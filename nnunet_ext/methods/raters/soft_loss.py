"""nnU-Net's loss with shares of raters as target."""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from torch import Tensor, nn

from nnunet_ext.methods.raters.rated_labels import RatedLabels


class SoftLoss(nn.Module):
    """nnU-Net's Dice and cross-entropy, at one scale, with the mean of the raters' one-hots as target.

    nnU-Net's Dice and binary cross-entropy take such targets as they are. Its cross-entropy takes a label map, so this
    is that of a reference map, plus what the shares change of it, ``sum_k (reference - share)_k log p_k``. That is the
    cross-entropy with the shares, and where all raters agree, it is nnU-Net's bit for bit.

    Args:
        stock: nnU-Net's loss of one scale, DC_and_CE_loss or DC_and_BCE_loss.
        labels: How the maps are read.
    """

    def __init__(self, stock: DC_and_CE_loss | DC_and_BCE_loss, labels: RatedLabels) -> None:
        super().__init__()
        self.stock: Any = stock
        self.labels = labels

    def forward(self, logits: Tensor, maps: Tensor, present: Tensor) -> Tensor:
        """Return the loss.

        Args:
            logits: (B, K, D, H, W) or (B, K, H, W).
            maps: Label maps (B, 1 + R, D, H, W) of the case and its raters.
            present: Which raters annotated which sample, (B, R).
        """
        with torch.no_grad():
            shares, first = self.labels.shares(maps, present)
            unknown = first == self.labels.unknown
        if self.labels.regions is not None:
            ignored = [] if self.labels.ignore is None else [unknown.to(shares.dtype)]
            return self.stock(logits, torch.cat([shares, *ignored], 1))
        masked = self.labels.ignore is not None
        dice = self.stock.dc(logits, shares, loss_mask=~unknown if masked else None)
        if masked and unknown.all():
            return dice
        hard = torch.zeros_like(shares).scatter_(1, first.masked_fill(unknown, 0).long(), 1)
        gap = ((hard - shares).masked_fill(unknown, 0) * logits.float().log_softmax(1)).sum(1)
        return self.stock.ce(logits, first[:, 0]) + gap.sum() / (~unknown).sum() + dice
