"""What changes the features of an encoder's stage: TriD, EFDMix or MixStyle.

[0] TriD: Chen et al., Treasure in distribution: a domain randomization based multi-source domain generalization for 2D
medical image segmentation, MICCAI 2023, https://arxiv.org/abs/2305.19949
[1] EFDMix: see efdmix.py
[2] MixStyle: Zhou et al., Domain generalization with MixStyle, ICLR 2021, https://arxiv.org/abs/2104.02008
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnunet_ext.methods.domain_randomisation.card import RUNNING
from nnunet_ext.methods.domain_randomisation.efdmix import efdmix
from nnunet_ext.methods.domain_randomisation.running_range import RunningRange
from nnunet_ext.methods.domain_randomisation.style import Style, with_style

CONCENTRATION = 0.1  # of the Beta distribution of MixStyle's and EFDMix's shares


class RandomFeatures:
    """Changes some samples of a stage's features, in train mode; hooks call it.

    It has no parameters and is no part of the network, so checkpoints and prediction do not know it.

    Args:
        knobs: Those of domain randomisation.
        generator: Source of the random numbers; it may be replaced.

    Attributes:
        sites: Of the samples of the batch; then partners are from other sites, and without one a sample stays.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from torch import nn
        >>> from nnunet_ext.methods.domain_randomisation.features import RandomFeatures
        >>> knobs = {"features": "trid", "p": 1.0, "range": [0, 1]}
        >>> change = RandomFeatures(knobs, np.random.default_rng(0))
        >>> stage, images = nn.LeakyReLU(), torch.randn(2, 3, 4, 4)
        >>> hook = stage.register_forward_hook(change.after)
        >>> bool(stage(images).equal(nn.LeakyReLU()(images))), bool(stage.eval()(images).equal(nn.LeakyReLU()(images)))
        (False, True)
    """

    def __init__(self, knobs: Mapping[str, Any], generator: np.random.Generator) -> None:
        self.generator = generator
        self.sites: Sequence[str] | None = None
        self.range = RunningRange()
        self._p = knobs["p"]
        self._fixed = None if knobs["range"] == RUNNING else knobs["range"]
        kinds: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "trid": self._trid,
            "efdmix": self._efdmix,
            "mixstyle": self._mixstyle,
        }
        self._change = kinds[knobs["features"]]
        self._watches = knobs["features"] == "trid" and self._fixed is None

    @torch.compiler.disable
    def after(self, stage: nn.Module, _: tuple[Any, ...], features: Tensor) -> Tensor:
        """Change what a stage returns, a forward hook."""
        return self(features) if stage.training else features

    @torch.compiler.disable
    def before(self, stage: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        """Change what a stage takes, a hook before its forward pass."""
        return (self(given[0]),) if stage.training else given

    def __call__(self, features: Tensor) -> Tensor:
        """Return features (B, C, ...) of which each sample was changed with probability p."""
        if self._watches:
            self.range.see(Style.of(features))
        coins = self.generator.random(len(features)) < self._p
        if self.sites is not None:
            coins &= [any(other != site for other in self.sites) for site in self.sites]
        (chosen,) = coins.nonzero()
        if not len(chosen):
            return features
        samples = torch.from_numpy(chosen).to(features.device)
        return features.index_copy(0, samples, self._change(features, samples).to(features.dtype))

    def _trid(self, features: Tensor, samples: Tensor) -> Tensor:
        """Give channels, by a coin each, a random mean and standard deviation."""
        own = Style.of(features[samples])
        coins = torch.from_numpy(self.generator.random(own.mean.shape) < 0.5).to(features.device)
        uniform = self._random((2, *own.mean.shape), features)
        low, high = self.range.limits() if self._fixed is None else ([end, end] for end in self._fixed)
        drawn = Style(*(low[part] + (high[part] - low[part]) * uniform[part] for part in (0, 1)))
        return with_style(features[samples], own, drawn.mixed(own, coins))

    def _mixstyle(self, features: Tensor, samples: Tensor) -> Tensor:
        """Mix means and standard deviations with another sample's."""
        styles, shares = Style.of(features), self._shares(len(samples))
        own, theirs = styles.take(samples), styles.take(self._partners(samples, len(features)))
        mixed = own.mixed(theirs, torch.from_numpy(shares[:, None].astype(np.float32)).to(features.device))
        return with_style(features[samples], own, mixed)

    def _efdmix(self, features: Tensor, samples: Tensor) -> Tensor:
        """Mix the values with another sample's of the same rank."""
        shares, partners = self._shares(len(samples)), self._partners(samples, len(features))
        flat = features.flatten(2)
        source = torch.Generator(features.device).manual_seed(int(self.generator.integers(2**62)))
        changed = []
        for sample, partner, share in zip(samples, partners, shares, strict=True):
            order = torch.randperm(flat.shape[2], generator=source, device=features.device)
            changed.append(efdmix(flat[sample], flat[partner], float(share), order))
        return torch.stack(changed).view(len(samples), *features.shape[1:])

    def _partners(self, samples: Tensor, size: int) -> Tensor:
        """Draw for each sample another one of the batch, or one from another site."""
        others = [
            [n for n in range(size) if (n != one if self.sites is None else self.sites[n] != self.sites[one])]
            for one in samples.tolist()
        ]
        return torch.tensor([int(self.generator.choice(each)) for each in others], device=samples.device)

    def _shares(self, number: int) -> NDArray[np.float64]:
        return self.generator.beta(CONCENTRATION, CONCENTRATION, number)

    def _random(self, shape: Sequence[int], like: Tensor) -> Tensor:
        return torch.from_numpy(self.generator.random(shape, dtype=np.float32)).to(like.device)
