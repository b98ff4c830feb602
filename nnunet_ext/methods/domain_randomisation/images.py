"""What changes the images of a batch: GIN or a random histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnunet_ext.methods.domain_randomisation.gin import RandomConvolutions
from nnunet_ext.methods.domain_randomisation.histogram import RandomHistogram


class RandomImages:
    """Changes some images of a batch before the network sees them, in train mode; a hook calls it.

    Voxels outside of the patient keep their 0, in channels that nnU-Net normalizes and masks there; so do channels that
    are 0 everywhere, which channel dropout makes. A cascade's channels of the previous stage are left alone.

    Args:
        knobs: Those of domain randomisation.
        masked: For each channel of the image, whether nnU-Net sets what is outside to 0 (``use_mask_for_norm``).
        generator: Source of the random numbers; it may be replaced.
    """

    def __init__(self, knobs: Mapping[str, Any], masked: Sequence[bool], generator: np.random.Generator) -> None:
        self.generator = generator
        self._kind, self._p, self._inversion = knobs["image"], knobs["p"], knobs["inversion"]
        self._masked = torch.tensor(masked)

    def before(self, network: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        """Change what the network takes, a hook before its forward pass."""
        return (self(given[0]),) if network.training else given

    def __call__(self, batch: Tensor) -> Tensor:
        """Return a batch (B, C, ...) of which each image was changed with probability p; the given one stays."""
        (chosen,) = (self.generator.random(len(batch)) < self._p).nonzero()
        if not len(chosen):
            return batch
        channels, changed = len(self._masked), batch.clone()
        with torch.no_grad(), torch.autocast(batch.device.type, enabled=False):
            for sample in chosen.tolist():
                changed[sample, :channels] = self._changed(batch[sample, :channels].float())
        return changed

    def _changed(self, image: Tensor) -> Tensor:
        outside = self._outside(image)
        if self._kind == "gin":
            return RandomConvolutions.draw(len(image), image.ndim - 1, self.generator)(image, outside)
        changed = image.clone()
        for channel, inside in zip(changed, ~outside, strict=True):
            drawn = RandomHistogram.draw(self.generator, self._inversion)
            if inside.sum() > 1:
                channel[inside] = drawn(channel[inside])
        return changed

    def _outside(self, image: Tensor) -> Tensor:
        zero = image == 0
        whole = zero.flatten(1).all(1) | self._masked.to(image.device)
        return zero & whole.view(-1, *[1] * (image.ndim - 1))
