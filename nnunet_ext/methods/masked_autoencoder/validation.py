"""How well a network restores the patches that it is validated on, compared with blurring them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nnunet_ext.methods.masked_autoencoder.blurring import SHARES, blurred
from nnunet_ext.semi_supervised.masked.hidden_patch import HiddenPatch

CONSTANT = "constant"  # what hidden voxels are replaced by: 0 after z-scores
GUESSES = (CONSTANT, *(f"Gaussian of {share:g} blocks" for share in SHARES))


def squared_errors(patch: HiddenPatch, guesses: list[Tensor]) -> NDArray[np.float64]:
    """Return what errors are made of: for each sample and guess a sum of squared errors, and last the voxels, (B, n+1).

    Args:
        patch: The images, and what is hidden of them.
        guesses: What the patch is guessed to be, each (B, C, D, H, W).
    """
    found = [patch.squared_error(guess) for guess in guesses]
    columns = [error for error, _ in found] + [found[0][1]]
    return np.stack([column.cpu().double().numpy() for column in columns], axis=1)


def controls(patch: HiddenPatch, seen: Tensor, block: tuple[int, ...]) -> list[Tensor]:
    """Return the guesses that need no learning, in the order of :data:`GUESSES`."""
    return [seen, *blurred(patch, seen, block)]


@dataclass(frozen=True)
class Restoration:
    """Mean squared errors over all hidden voxels inside the images, of patches that no network was trained on.

    Args:
        network: Of the network.
        constant: Of the constant that the network sees there.
        gaussians: Of blurring, by the Gaussian.
    """

    network: float
    constant: float
    gaussians: Mapping[str, float]

    @classmethod
    def of(cls, sums: NDArray[np.float64]) -> Restoration:
        """Divide sums (guesses, and last the voxels) of network and controls; all 0 if nothing was hidden."""
        errors = [float(each) for each in sums[:-1] / max(sums[-1], 1.0)]
        return cls(errors[0], errors[1], dict(zip(GUESSES[1:], errors[2:], strict=True)))

    @property
    def blurring(self) -> float:
        """Error of the best Gaussian."""
        return min(self.gaussians.values())

    @property
    def share(self) -> float:
        """Share of the constant's error that the network removes: 1 is perfect, 0 is nothing learnt."""
        return 1 - self.network / self.constant if self.constant > 0 else 0.0

    @property
    def learnt_more_than_blurring(self) -> bool:
        """Whether the network beats the best Gaussian."""
        return self.network < self.blurring

    def line(self) -> str:
        """Return it in words."""
        verdict = "yes" if self.learnt_more_than_blurring else "no"
        return (
            f"masked error {self.network:.4f}, of blurring {self.blurring:.4f}, of a constant {self.constant:.4f}; has "
            f"learnt more than blurring: {verdict}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return it for a JSON file."""
        return {
            "masked_error": self.network,
            "blurring": self.blurring,
            "constant": self.constant,
            "gaussians": dict(self.gaussians),
            "learnt_more_than_blurring": self.learnt_more_than_blurring,
        }
