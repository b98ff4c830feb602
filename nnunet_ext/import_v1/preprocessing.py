"""How images are preprocessed before a network sees them, in the terms of nnU-Net v2's plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """What v2's plans say of the preprocessing.

    Args:
        spacing: Target spacing in mm, after the transposition; (H, W) for 2d.
        schemes: nnU-Net v2's normalization class of each channel.
        masks: For each channel, whether it is normalized inside the image's nonzero region.
        intensities: Mean, std, percentiles and so on of each channel by its number as text; CT needs them.
        transpose_forward: Order of the image's axes (D, H, W) in the network.
        transpose_backward: The way back.
    """

    spacing: Sequence[float]
    schemes: Sequence[str]
    masks: Sequence[bool]
    intensities: Mapping[str, Mapping[str, float]]
    transpose_forward: Sequence[int] = (0, 1, 2)
    transpose_backward: Sequence[int] = (0, 1, 2)

    @property
    def described(self) -> str:
        """The normalization of every channel in words, as ``CT clipped to [-325, 325], then (x + 325) / 650``."""
        return "; ".join(self._described(channel) for channel in range(len(self.schemes)))

    def _described(self, channel: int) -> str:
        scheme, where = self.schemes[channel], " inside the nonzero region" if self.masks[channel] else ""
        if scheme != "CTNormalization":
            return f"{scheme.removesuffix('Normalization')}{where}"
        known = self.intensities[str(channel)]
        low, high, mean, std = (known[key] for key in ("percentile_00_5", "percentile_99_5", "mean", "std"))
        sign = "+" if mean < 0 else "-"
        return f"CT clipped to [{low:g}, {high:g}], then (x {sign} {abs(mean):g}) / {std:g}"
