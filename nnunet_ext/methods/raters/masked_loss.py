"""nnU-Net's loss where some voxels are unknown, whether the dataset has an ignore label or not."""

from __future__ import annotations

from typing import Any

from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from nnunet_ext.methods.raters.rated_labels import RatedLabels


def masked_loss(labels: RatedLabels, *, batch_dice: bool, ddp: bool) -> DC_and_CE_loss | DC_and_BCE_loss:
    """Return nnU-Net's loss of one scale that leaves out unknown voxels; without any it is that of the dataset.

    Args:
        labels: How the maps are read. Of regions, the target's last channel marks unknown voxels.
        batch_dice: See nnU-Net's plans.
        ddp: Whether several processes train.
    """
    dice: dict[str, Any] = {"batch_dice": batch_dice, "smooth": 1e-5, "ddp": ddp}
    how: dict[str, Any] = {"dice_class": MemoryEfficientSoftDiceLoss}
    if labels.regions is None:
        return DC_and_CE_loss(dice | {"do_bg": False}, {}, ignore_label=labels.unknown, **how)
    # with a mask, nnU-Net's binary cross-entropy is a sum over regions; without one, a mean
    weight = 1.0 if labels.ignore is not None else 1 / len(labels.regions)
    return DC_and_BCE_loss({}, dice | {"do_bg": True}, weight_ce=weight, use_ignore_label=True, **how)
