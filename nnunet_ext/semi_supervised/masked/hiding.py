"""How much of the patches of a configuration is hidden, and what stands in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nnunet_ext.errors import UserError
from nnunet_ext.semi_supervised.masked.blocks import Blocks
from nnunet_ext.semi_supervised.masked.hidden_patch import HiddenPatch

KNOBS = "masked_autoencoder"  # block of the knobs that say it
Z_SCORE = "ZScoreNormalization"


@dataclass(frozen=True)
class Hiding:
    """Hides whole blocks of patches, as the knobs ``masked_autoencoder.*`` say.

    Args:
        blocks: Of a patch.
        ratio: Share of them that is hidden.
        per_channel: Each channel has hidden blocks of its own.
        exclude_padding: Voxels outside the image do not count.
        is_zero: For each channel, whether hidden voxels are 0, the mean after z-scores.
    """

    blocks: Blocks
    ratio: float
    per_channel: bool
    exclude_padding: bool
    is_zero: tuple[bool, ...]

    @classmethod
    def of(cls, plans_name: str, configuration: Any, knobs: Mapping[str, Any]) -> Hiding:
        """Return it for a configuration.

        Args:
            plans_name: Name of the plans, for the message.
            configuration: nnU-Net's manager of the configuration.
            knobs: Those of the masked autoencoder.

        Raises:
            UserError: A patch has fewer than two blocks.
        """
        patch_size = configuration.patch_size
        try:
            blocks = Blocks.of(patch_size, configuration.spacing[-len(patch_size) :], knobs["block_mm"])
        except ValueError as error:
            raise UserError(f"plans {plans_name!r}: {error}. Plan with a larger patch.") from error
        is_zero = tuple(scheme == Z_SCORE for scheme in configuration.normalization_schemes)
        return cls(blocks, knobs["ratio"], knobs["per_channel"], knobs["exclude_padding"], is_zero)

    def patch(self, batch: Mapping[str, Any], device: torch.device) -> HiddenPatch:
        """Return a batch's images on a device; what is hidden of them is drawn there, unless the batch says it.

        Args:
            batch: ``data`` (B, C, D, H, W), ``target`` (B, 1, D, H, W), which is -1 outside the image, and maybe
                ``hidden``.
            device: Where the network is.
        """
        images, target = (batch[name].to(device, non_blocking=True) for name in ("data", "target"))
        if "hidden" in batch:
            hidden = batch["hidden"].to(device, non_blocking=True)
        else:
            channels = images.shape[1] if self.per_channel else 1
            hidden = self.blocks.draw(len(images), channels, self.ratio, device)
        inside = target >= 0 if self.exclude_padding else torch.ones_like(target, dtype=torch.bool)
        return HiddenPatch(images, hidden, inside)

    def input(self, patch: HiddenPatch) -> Tensor:
        """Return what the network sees of patches."""
        return patch.input(self.is_zero)
