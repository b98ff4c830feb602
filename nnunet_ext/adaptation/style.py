"""A view of a patch in another style: brightness, contrast, gamma, noise and blur, all strong, as in GraTa."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FACTORS = (0.5, 1.5)  # of brightness and of contrast
EXPONENTS = (0.5, 2.0)  # of gamma
VARIANCES = (0.0, 0.05)  # of noise
DEVIATIONS = (0.5, 1.5)  # of blur, in voxels


def style_view(
    patch: NDArray[np.float32], generator: np.random.Generator, masked: Sequence[bool] = ()
) -> NDArray[np.float32]:
    """Return a patch in a random style; each channel has its own.

    Args:
        patch: (C, *patch), normalized. Channels of one value are not changed.
        generator: Draws the style.
        masked: For each channel, whether its outside is 0 (``use_mask_for_norm``): then it stays 0; none: of no one.
    """
    found = np.stack([_channel(channel, generator) if np.ptp(channel) > 0 else channel for channel in patch])
    for own, channel, outside in zip(found, patch, masked, strict=False):
        if outside:
            own[channel == 0] = 0
    return found


def _channel(channel: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    brightness, contrast = generator.uniform(*FACTORS, size=2)
    exponent, variance, deviation = (generator.uniform(*ends) for ends in (EXPONENTS, VARIANCES, DEVIATIONS))
    changed = channel * brightness
    low, high = changed.min(), changed.max()
    changed = np.clip((changed - changed.mean()) * contrast + changed.mean(), low, high)
    changed = inverted_gamma(changed, exponent) + generator.normal(0, np.sqrt(variance), channel.shape)
    return ndimage.gaussian_filter(changed, deviation).astype(np.float32)


def inverted_gamma(channel: NDArray[np.floating], exponent: float) -> NDArray[np.floating]:
    """Return intensities, upside down, to the power of an exponent, in their own range.

    Example:
        >>> inverted_gamma(np.array([0.0, 3.0, 4.0]), 2).tolist()
        [0.0, 3.75, 4.0]
    """
    low, extent = channel.min(), np.ptp(channel)
    return extent * (1 - (1 - (channel - low) / extent) ** exponent) + low if extent > 0 else channel
