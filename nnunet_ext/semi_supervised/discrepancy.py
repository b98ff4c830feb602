"""How far two predictions of the same images are apart."""

from __future__ import annotations

from torch import Tensor


def discrepancy(first: Tensor, second: Tensor, *, regions: bool) -> Tensor:
    """Return the mean over samples and voxels of the squared difference of probabilities.

    Classes count half their sum: for two classes that is the mean over both, as in the literature, and it does not
    shrink with every further class. Regions count their mean; a single region has the value of two classes.

    Args:
        first: Probabilities (B, K, D, H, W) or (B, K, H, W).
        second: Probabilities of the same shape.
        regions: The channels are regions, and not classes that add up to 1.
    """
    squared = (first - second).square()
    return squared.mean() if regions else squared.sum(1).mean() / 2
