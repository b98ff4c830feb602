"""A random monotone map of a channel's intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NODES = (4, 8)  # least and most
ENDS = (0.005, 0.995)  # quantiles of the intensities that are 0 and 1 for the map
SAMPLE = 100_000  # voxels, in equal steps, of which they are taken
SMALLEST = 1e-6


@dataclass(frozen=True)
class RandomHistogram:
    """A piecewise linear map from [0, 1] to [0, 1] that rises, or falls; its outer pieces go on beyond.

    Args:
        positions: Of its nodes, rising from 0 to 1.
        values: At the nodes.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from nnunet_ext.methods.domain_randomisation.histogram import RandomHistogram
        >>> drawn = RandomHistogram(np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.8, 1.0]))
        >>> drawn(torch.tensor([0.0, 1.0, 2.0, 4.0])).argsort()  # the order stays
        tensor([0, 1, 2, 3])
    """

    positions: NDArray[np.float64]
    values: NDArray[np.float64]

    @classmethod
    def draw(cls, generator: np.random.Generator, inversion: float = 0.0) -> RandomHistogram:
        """Draw 4 to 8 nodes; those between the ends are uniform in position and value.

        Args:
            generator: Source of the random numbers.
            inversion: Probability that the map falls.
        """
        inner = generator.integers(NODES[0], NODES[1] + 1) - 2
        positions, values = (np.concatenate(([0], np.sort(generator.random(inner)), [1])) for _ in range(2))
        return cls(positions, values[::-1] if generator.random() < inversion else values)

    def __call__(self, intensities: Tensor) -> Tensor:
        """Return intensities with the same mean and standard deviation, as nnU-Net's gamma augmentation keeps them.

        Args:
            intensities: Of one channel, any shape; their 0.5th percentile is 0 for the map, and the 99.5th 1, so that
                single bright voxels do not decide. At least two voxels; if all are equal, they stay.
        """
        some = intensities.flatten()[:: max(1, intensities.numel() // SAMPLE)]
        low, high = torch.quantile(some.float(), torch.tensor(ENDS, device=some.device)).to(intensities)
        scaled = (intensities - low) / (high - low).clamp_min(SMALLEST)
        at, nodes = (torch.from_numpy(np.ascontiguousarray(each)).to(scaled) for each in (self.positions, self.values))
        piece = torch.bucketize(scaled, at[1:-1])
        slopes = nodes.diff() / at.diff().clamp_min(SMALLEST)
        mapped = nodes[piece] + (scaled - at[piece]) * slopes[piece]
        spread = intensities.std() / mapped.std().clamp_min(SMALLEST)
        return intensities.mean() + (mapped - mapped.mean()) * spread
