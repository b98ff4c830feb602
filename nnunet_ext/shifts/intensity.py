"""Shifts of intensities: gamma, inversion, bias field, Rician noise.

All take one channel in its own range: 0 is its darkest voxel, 1 its 99.5th percentile, so a few voxels are above 1.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

ORDER = 3  # of the polynomial of a bias field


def gamma(channel: NDArray[np.float32], exponent: float) -> NDArray[np.float32]:
    """Return intensities to the power of an exponent.

    Args:
        channel: (D, H, W), in its own range, not negative.
        exponent: Below 1 brightens, above 1 darkens.

    Example:
        >>> gamma(np.float32([0, 0.25, 1]), 0.5).tolist()
        [0.0, 0.5, 1.0]
    """
    return np.power(channel, np.float32(exponent))


def inversion(channel: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Return intensities with the upper part of their range turned upside down.

    Args:
        channel: (D, H, W), in its own range.
        share: How much of the range is turned; 1: all of it.

    Example:
        >>> inversion(np.float32([0, 0.25, 1]), 1).tolist()
        [1.0, 0.75, 0.0]
        >>> inversion(np.float32([0, 0.25, 0.5, 0.75, 1]), 0.5).tolist()
        [0.5, 0.75, 1.0, 0.75, 0.5]
    """
    return np.float32(1) - np.abs(channel - np.float32(1 - share))


def bias_field(channel: NDArray[np.float32], amplitude: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """Return the channel times a smooth field whose extremes are ``1 - amplitude`` and ``1 + amplitude``.

    The field is a polynomial of total degree 3 with random normal coefficients; places run from -1 to 1 along each
    axis of more than one voxel.

    Args:
        channel: (D, H, W), in its own range.
        amplitude: Above 0, below 1.
        generator: Draws the coefficients.
    """
    field = np.zeros(channel.shape, np.float32)
    axes = [np.linspace(-1, 1, length) if length > 1 else np.zeros(1) for length in channel.shape]
    places = np.meshgrid(*axes, indexing="ij", sparse=True)
    for powers in itertools.product(range(ORDER + 1), repeat=channel.ndim):
        if 0 < sum(powers) <= ORDER:
            term: NDArray[np.float64] = np.full((), generator.standard_normal())
            for place, power in zip(places, powers, strict=True):
                term = term * place**power
            field += term
    lowest, extent = field.min(), np.ptp(field)
    if extent == 0:  # an image of one voxel
        return channel
    factors: NDArray[np.float32] = np.float32(1) + np.float32(amplitude) * (2 * (field - lowest) / extent - 1)
    return channel * factors


def rician_noise(channel: NDArray[np.float32], deviation: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """Return the magnitude of the channel with normal noise in its real and its imaginary part, as in MR images.

    Args:
        channel: (D, H, W), in its own range.
        deviation: Standard deviation of each part's noise.
        generator: Draws the noise.
    """
    real, imaginary = (generator.standard_normal(channel.shape, np.float32) * np.float32(deviation) for _ in range(2))
    return np.hypot(channel + real, imaginary)
