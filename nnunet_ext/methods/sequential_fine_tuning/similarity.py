"""Which cases are nearest to the data that a model was trained on, by the features that it has of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from nnunet_ext.methods.sequential_fine_tuning.buffer import Cases, SeveralFolders


class FeatureDistance:
    """Distance of a case's bottleneck features to their mean over reference cases.

    Each case is seen in the same number of random crops of the patch's size, at the same places relative to its own
    size. The features of a crop are the bottleneck's means over space, a vector of one number a channel; the score of a
    case is the mean over its crops of the Euclidean distance to the mean of all reference cases. No label is read.

    The mean squared error of a masked autoencoder, which MedSeqFT seems to rank by, needs a head that nnU-Net's models
    do not have; this is a substitute.

    Args:
        network: A U-Net of nnU-Net's, whose ``encoder`` returns the outputs of its stages.
        patch_size: Voxels of a crop (D, H, W), or (H, W) for a 2d network, whose crops are of random slices.
        draws: Crops of a case.
        seed: Of their places.
        device: Where the network runs.
    """

    def __init__(
        self,
        network: nn.Module,
        patch_size: Sequence[int],
        draws: int,
        seed: int,
        device: torch.device = torch.device("cpu"),  # noqa: B008  (immutable)
    ) -> None:
        self.network = network.to(device).eval()
        self.is_2d = len(patch_size) == 2
        self.patch = (1, *patch_size) if self.is_2d else tuple(patch_size)
        self.places = np.random.default_rng(seed).random((draws, 3))  # the same for all cases
        self.device = device
        self.mean: Tensor | None = None

    def fit(self, reference: Cases, *, show_progress: bool = False) -> None:
        """Take the mean over all crops of the reference cases."""
        found = self._all(reference, "reference", show_progress)
        self.mean = torch.stack([each.mean(0) for each in found.values()]).mean(0)

    def of(self, cases: Cases, *, show_progress: bool = False) -> dict[str, list[float]]:
        """Return the distances of the crops of each case.

        Raises:
            ValueError: There is no reference yet.
        """
        if self.mean is None:
            raise ValueError("expected reference cases, found none; call fit first")
        mean = self.mean
        found = self._all(cases, "cases", show_progress)
        return {name: (features - mean).norm(dim=1).tolist() for name, features in found.items()}

    def _all(self, cases: Cases, told: str, show_progress: bool) -> dict[str, Tensor]:
        data = SeveralFolders([cases])
        shown = tqdm(zip(cases.names, data.identifiers, strict=True), told, len(cases.names), disable=not show_progress)
        return {name: self._features(data.load_case(identifier)[0]) for name, identifier in shown}

    @torch.no_grad()
    def _features(self, image: Any) -> Tensor:
        """Return the pooled features of each crop (draws, channels)."""
        found = []
        for place in self.places:
            crop = torch.from_numpy(_crop(image, self.patch, place)).to(self.device)
            images = (crop[:, 0] if self.is_2d else crop)[None]
            bottleneck = self.network.encoder(images)[-1]  # type: ignore[operator]
            found.append(bottleneck.flatten(2).mean(2)[0].cpu().double())
        return torch.stack(found)


def ranked(scores: Mapping[str, Sequence[float]]) -> list[tuple[str, float]]:
    """Return cases with the mean of their scores, lowest first, cases of the same mean by name.

    Args:
        scores: Those of each draw, by case.

    Example:
        >>> from nnunet_ext.methods.sequential_fine_tuning.similarity import ranked
        >>> ranked({"b": [2, 2], "c": [5, 1], "a": [1, 3]})
        [('a', 2.0), ('b', 2.0), ('c', 3.0)]
    """
    means = [(name, float(np.mean(values))) for name, values in scores.items()]
    return sorted(means, key=lambda pair: (pair[1], pair[0]))


def _crop(image: Any, patch: Sequence[int], place: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a crop (C, D, H, W); an image that is smaller is filled up with 0, as nnU-Net does."""
    window = [slice(None)]
    padding = [(0, 0)]
    for length, size, share in zip(image.shape[1:], patch, place, strict=True):
        start = int(share * (max(length - size, 0) + 1))
        window.append(slice(start, min(start + size, length)))
        missing = max(size - length, 0)
        padding.append((missing // 2, missing - missing // 2))
    return np.pad(np.asarray(image[tuple(window)], np.float32), padding)
