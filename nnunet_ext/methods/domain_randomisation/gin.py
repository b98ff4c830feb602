"""GIN: an image passed through a small random network that is drawn for each sample.

[0] Ouyang et al., Causality-inspired single-source domain generalization for medical image segmentation, TMI 2023,
https://arxiv.org/abs/2111.12525
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

LAYERS, INNER = 4, 2  # convolutions, and their channels for each channel of the image
KERNELS = (1, 3)
SMALLEST = 1e-12


@dataclass(frozen=True)
class RandomConvolutions:
    """Four convolutions with leaky ReLU between them, and how much of their result is mixed into the image.

    Channels are not mixed: each has convolutions and a norm of its own, so that sequences of MR stay apart.

    Args:
        layers: Weights (out, in, k, k, k) or (out, in, k, k), and shifts (out,), of each convolution.
        share: Of the convolutions' result, in [0, 1]; the rest is the image.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from nnunet_ext.methods.domain_randomisation.gin import RandomConvolutions
        >>> image = torch.randn(1, 8, 8, 8)
        >>> drawn = RandomConvolutions.draw(1, 3, np.random.default_rng(0))
        >>> bool(torch.isclose(drawn(image).norm(), image.norm()))
        True
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    share: float

    @classmethod
    def draw(cls, channels: int, dimensions: int, generator: np.random.Generator) -> RandomConvolutions:
        """Draw kernels of 1 or 3 voxels, weights and shifts from N(0, 1), and the share from U(0, 1).

        Args:
            channels: Of the image.
            dimensions: Spatial axes, 2 or 3.
            generator: Source of the random numbers.
        """
        widths = [1, *[INNER] * (LAYERS - 1), 1]
        layers = []
        for before, after in pairwise(widths):
            shape = (channels * after, before, *[int(generator.choice(KERNELS))] * dimensions)
            weights, shifts = generator.standard_normal(shape), generator.standard_normal(channels * after)
            layers.append((_tensor(weights), _tensor(shifts)))
        return cls(tuple(layers), float(generator.random()))

    def __call__(self, image: Tensor, outside: Tensor | None = None) -> Tensor:
        """Return the changed image; each channel has the norm that it had.

        One norm of all channels would let the channel with the largest weights drown others.

        Args:
            image: (C, D, H, W) or (C, H, W), float32.
            outside: Voxels that are 0 and stay so, of the same shape.
        """
        convolve: Any = functional.conv3d if image.ndim == 4 else functional.conv2d
        found = image[None]
        for number, (weights, shifts) in enumerate(self.layers):
            found = functional.leaky_relu(found) if number else found
            parameters = weights.to(image.device), shifts.to(image.device)
            found = convolve(found, *parameters, padding="same", groups=len(image))
        mixed = self.share * found[0] + (1 - self.share) * image
        if outside is not None:
            mixed = torch.where(outside, image, mixed)
        before, after = (each.flatten(1).norm(dim=1) for each in (image, mixed))
        return mixed * (before / after.clamp_min(SMALLEST)).view(-1, *[1] * (image.ndim - 1))


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
