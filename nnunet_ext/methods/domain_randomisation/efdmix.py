"""EFDMix: features take the whole distribution of another sample's, channel by channel.

[0] Zhang et al., Exact feature distribution matching for arbitrary style transfer and domain generalization, CVPR 2022,
https://arxiv.org/abs/2203.07740
"""

from __future__ import annotations

import torch
from torch import Tensor


def efdmix(features: Tensor, partner: Tensor, share: float, order: Tensor) -> Tensor:
    """Return ``share`` of the features, and the rest of the partner's values in the order of the features.

    The gradient to the features is that of the identity; the partner passes none on.

    Args:
        features: Of one sample, (C, V); V voxels.
        partner: Of another sample, (C, V).
        share: In [0, 1]; 1 returns the features.
        order: A random permutation of the voxels, by which equal values are ranked.

    Example:
        >>> import torch
        >>> from nnunet_ext.methods.domain_randomisation.efdmix import efdmix
        >>> features, partner = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[10.0, 30.0, 20.0]])
        >>> efdmix(features, partner, 0.0, torch.arange(3))
        tensor([[30., 10., 20.]])
    """
    with torch.no_grad():
        ranked = order[features[:, order].argsort(dim=1, stable=True)]  # the voxel of each rank
        wanted = torch.empty_like(features).scatter_(1, ranked, partner.sort(dim=1).values)
    return features + (1 - share) * (wanted - features.detach())
