"""VerSemi's network: DoDNet with one more task that only training sees.

[0] Zeng et al., Segment together: a versatile paradigm for semi-supervised medical image segmentation, IEEE TMI 2025,
https://arxiv.org/abs/2311.11686
[1] https://github.com/maxwell0027/VerSemi at e331a7b (the authors' code, without a licence; none of it is used here)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nnunet_ext.collection.network.dodnet import DoDNet
from nnunet_ext.networks.dynamic_head import WIDTH, DynamicHead, bounded


@dataclass(frozen=True)
class MixedHeads:
    """Which heads the mixed samples get, which stand after the labelled ones in a batch.

    Args:
        samples: Mixed samples, pairs first.
        outside: For each pair, the task of the image around the box.
        inside: For each pair, the task of the image in the box.
        tasks: Tasks whose logits are wanted for all mixed samples; none with a teacher.
        detach: These logits get no gradient.
    """

    samples: int
    outside: Sequence[int] = ()
    inside: Sequence[int] = ()
    tasks: Sequence[int] = ()
    detach: bool = True


class VerSemiOutput(NamedTuple):
    """What training gets.

    Args:
        logits: Of the labelled samples, as DoDNet's: (B, H, D, H, W), or their list over scales.
        synthetic: Logits of the synthetic task for the mixed samples, (M, 1, D, H, W).
        outside: Logits of the pairs for the tasks around the boxes, (P, H, D, H, W).
        inside: The same for the tasks in the boxes.
        tasks: Logits of the mixed samples for all wanted tasks side by side, (M, K1 + K2 + ..., D, H, W), or None.
    """

    logits: Tensor | list[Tensor]
    synthetic: Tensor
    outside: Tensor
    inside: Tensor
    tasks: Tensor | None


class VerSemi(DoDNet):
    """DoDNet, and a synthetic task [0]: the foreground of any task, one sigmoid.

    The synthetic task is one more entry of the one-hot code, so one more column of the controller, kept apart from the
    others: the network has DoDNet's tensors, and ``synthetic``, which nothing but :meth:`set_mixed` uses. Without that
    column it is DoDNet; predictions never see it.

    Args:
        unet: See :class:`DoDNet`.
        options: See :class:`DoDNet`.

    Example:
        >>> import torch
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> from torch import nn
        >>> from nnunet_ext.methods.versemi.architecture import MixedHeads, VerSemi
        >>> sizes = (1, 3, (8, 16, 32), nn.Conv3d, 3, (1, 2, 2), 1, 8, 1)  # what plans say of a U-Net
        >>> unet = PlainConvUNet(*sizes, norm_op=nn.InstanceNorm3d, nonlin=nn.LeakyReLU)
        >>> network = VerSemi(unet, heads=(2, 3), channels=(1,))
        >>> network.set_sample_tasks([0, 1])
        >>> network.set_mixed(MixedHeads(1, outside=[0], inside=[1]))
        >>> output = network(torch.randn(3, 1, 16, 16, 16))  # two labelled samples, and a mix of both
        >>> output.logits.shape, output.synthetic.shape
        (torch.Size([2, 3, 16, 16, 16]), torch.Size([1, 1, 16, 16, 16]))
    """

    def __init__(self, unet: Any, **options: Any) -> None:
        super().__init__(unet, **options)
        self.synthetic_head = DynamicHead(1, width=self.head.width, depth=self.head.depth)
        self.synthetic = nn.Parameter(torch.empty(self.synthetic_head.parameter_count))
        self._initialize_synthetic()
        self._mixed_heads: MixedHeads | None = None
        self._of_pairs = torch.zeros(2, 0, dtype=torch.long)  # tasks outside and inside; not a buffer, as _tasks

    @torch.no_grad()
    def _initialize_synthetic(self) -> None:
        """As the controller's other columns, with its bias of 0."""
        gain = nn.init.calculate_gain("leaky_relu", 1e-2)
        nn.init.normal_(self.synthetic, std=gain / math.sqrt(self.controller.in_features))
        if self.head.width > WIDTH:
            self.synthetic[: self.synthetic_head.weight_count] *= math.sqrt(WIDTH / self.head.width)

    def set_mixed(self, heads: MixedHeads) -> None:
        """Say what the next forward computes of the mixed samples; call it after :meth:`set_sample_tasks`."""
        self._mixed_heads = heads
        tasks = torch.as_tensor([heads.outside, heads.inside], dtype=torch.long)
        if tasks.shape == self._of_pairs.shape:
            self._of_pairs.copy_(tasks)  # the same tensor, for torch.compile
        else:
            self._of_pairs = tasks

    def _choose(self, tasks: Sequence[int]) -> None:
        super()._choose(tasks)
        self._mixed_heads = None

    def forward(self, x: Tensor) -> Any:
        """Segment as DoDNet does; after :meth:`set_mixed` return a :class:`VerSemiOutput`.

        Encoder and decoder run once, on labelled and mixed samples together.
        """
        if self._mixed_heads is None:
            return super().forward(x)
        wanted = self._mixed_heads
        scales, condition = self.encode(x)
        labelled, of_pairs = len(x) - wanted.samples, self._of_pairs.to(x.device)
        tasks = self._tasks.to(x.device).expand(labelled)
        logits = self.decode(([scale[:labelled] for scale in scales], condition[:labelled]), tasks)
        features, condition = scales[0][labelled:], condition[labelled:]
        pairs = features[: of_pairs.shape[1]], condition[: of_pairs.shape[1]]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not wanted.detach):
            of_tasks = [
                self._of_tasks(features, condition, torch.full((len(features),), task, device=x.device))[
                    :, : self.heads[task]
                ]
                for task in wanted.tasks
            ]
        return VerSemiOutput(
            logits,
            self._synthesized(features, condition),
            self._of_tasks(*pairs, of_pairs[0]),
            self._of_tasks(*pairs, of_pairs[1]),
            torch.cat(of_tasks, 1) if of_tasks else None,
        )

    def _of_tasks(self, features: Tensor, condition: Tensor, tasks: Tensor) -> Tensor:
        return bounded(self.head(features, self.kernels(condition, tasks))).to(features.dtype)

    def _synthesized(self, features: Tensor, condition: Tensor) -> Tensor:
        no_task = torch.full((len(features),), -1, device=features.device)
        kernels = self.kernels(condition, no_task)[:, self.head.places_of(1).to(features.device)] + self.synthetic
        return bounded(self.synthetic_head(features, kernels)).to(features.dtype)
