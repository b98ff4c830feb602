"""Images that lose channels in training, so that the network learns to do without."""

from __future__ import annotations

from typing import Any

import numpy as np
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform
from numpy.typing import NDArray
from torch import Tensor, from_numpy

MISSING = 0.0  # after normalization and resampling; what nnU-Net pads with, too


class LoseChannels(ImageOnlyTransform):
    """A sample loses each channel with a probability, but never all; a lost one is 0, as prediction fills it.

    If all would be lost, one of them, at random, is kept. Random numbers are numpy's, as nnU-Net's workers share
    torch's.

    Args:
        probability: Of each channel, in [0, 1).
        channels: Number of channels of the image; those that follow, of a cascade's previous stage, are never lost.

    Example:
        >>> import torch
        >>> np.random.seed(3)
        >>> LoseChannels(0.5, 2)(image=torch.ones(3, 1, 1, 1))["image"].flatten()
        tensor([1., 0., 1.])
    """

    def __init__(self, probability: float, channels: int) -> None:
        super().__init__()
        self.probability = probability
        self.channels = channels

    def lost(self, generator: Any = np.random) -> NDArray[np.bool_]:
        """Draw which channels of a sample are lost.

        Args:
            generator: Source of the random numbers, numpy's module or a Generator.

        Returns:
            For each channel of the image, whether it is.
        """
        lost: NDArray[np.bool_] = generator.random(self.channels) < self.probability
        if lost.all():
            lost[generator.permutation(self.channels)[0]] = False
        return lost

    def apply(self, data_dict: dict[str, Any], **params: Any) -> dict[str, Any]:
        """Fill lost channels of a sample's image (C, ...), in place."""
        self.lose(data_dict["image"][None])
        return data_dict

    def lose(self, images: Tensor, generator: Any = np.random) -> None:
        """Fill lost channels of each image of a batch (B, C, ...), in place.

        Args:
            images: The batch, on any device.
            generator: Source of the random numbers, numpy's module or a Generator.
        """
        for image in images:
            image[: self.channels][from_numpy(self.lost(generator))] = MISSING
