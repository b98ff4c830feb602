"""A U-Net with one set of segmentation heads per task.

[0] Ulrich et al., MultiTalent: a multi-dataset approach to medical image segmentation, MICCAI 2023,
https://arxiv.org/abs/2303.14444
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import Tensor, nn

from nnunet_ext.collection.network.input_stems import InputStems
from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.methods.multi_head.chosen_rows import ChosenRows
from nnunet_ext.networks.moved import moved
from nnunet_ext.networks.unet import check_unet


class MultiHead(TaskNetwork):
    """Any plain or residual-encoder U-Net, 2d or 3d, whose last 1x1x1 convolutions are not shared by the tasks.

    The heads of all tasks are rows of one convolution, of which those of the sample's task are computed: memory and
    time do not grow with the number of tasks. Because a tensor selects the rows, every parameter has its gradient (DDP)
    and one compiled graph serves all tasks.

    Differences from MultiTalent [0]: softmax or sigmoid as the task's own labels say, not sigmoid for all; stock
    nnU-Net's loss; first convolutions per number of channels.

    Args:
        unet: The network that the plans describe, with ``sum(heads)`` classes.
        heads: Logits of each task: classes with background, or regions.
        channels: Numbers of input channels that occur.

    Raises:
        TypeError: ``unet`` is neither a PlainConvUNet nor a ResidualEncoderUNet.

    Example:
        >>> import torch
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> from torch import nn
        >>> from nnunet_ext import MultiHead
        >>> sizes = (1, 3, (8, 16, 32), nn.Conv3d, 3, (1, 2, 2), 1, 5, 1)  # what plans say of a U-Net
        >>> unet = PlainConvUNet(*sizes, norm_op=nn.InstanceNorm3d, nonlin=nn.LeakyReLU)
        >>> network = MultiHead(unet, heads=(2, 3), channels=(1,))
        >>> images = torch.randn(2, 1, 16, 16, 16)
        >>> network.set_task(1)
        >>> network(images).shape
        torch.Size([2, 3, 16, 16, 16])
    """

    def __init__(
        self, unet: PlainConvUNet | ResidualEncoderUNet, *, heads: Sequence[int], channels: Sequence[int]
    ) -> None:
        super().__init__(heads)
        check_unet(unet)
        self.encoder = unet.encoder
        self.decoder = unet.decoder
        self.decoder.seg_layers = nn.ModuleList(ChosenRows(conv) for conv in unet.decoder.seg_layers)
        self.decoder.num_classes = max(heads)  # what the planner counts for a scale
        InputStems.put_into(unet.encoder, channels)
        first = _first_rows(heads)
        # (task, head) -> row; tasks with fewer heads repeat their last one, which is cut off
        self._rows = torch.tensor([[first[t] + min(h, n - 1) for h in range(max(heads))] for t, n in enumerate(heads)])

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the features before the heads, a list over the scales, or over the only scale."""
        features = self.decoder(self.encoder(x))
        return features if isinstance(features, list) else [features]

    def decode(self, shared: list[Tensor], tasks: Tensor) -> Tensor | list[Tensor]:
        """Return the logits of ``tasks`` (B), one for each sample."""
        rows = self._rows.to(tasks.device)[tasks]
        layers = reversed(self.decoder.seg_layers)  # of the decoder's stages, full resolution last
        chosen = [layer.choose(scale, rows) for layer, scale in zip(layers, shared, strict=False)]
        return chosen if self.decoder.deep_supervision else chosen[0]

    def adopt(
        self, weights: Mapping[str, Tensor], heads: Sequence[int], places: Sequence[int | None]
    ) -> dict[str, Tensor]:
        """Return another MultiHead's weights in the shapes of this one (see :meth:`TaskNetwork.adopt`).

        A task that has another number of heads now starts with fresh ones.
        """
        adopted = dict(weights)
        theirs, ours = _first_rows(heads), _first_rows(self.heads)
        rows = [
            (ours[new] + row, theirs[old] + row)
            for new, old in enumerate(places)
            if old is not None and heads[old] == self.heads[new]
            for row in range(heads[old])
        ]
        for name, fresh in self.state_dict().items():
            if name.startswith("decoder.seg_layers.") and len(weights.get(name, ())) == sum(heads):
                tensor = moved(fresh, weights[name], rows)
                adopted |= {} if tensor is None else {name: tensor}
        return adopted


def _first_rows(heads: Sequence[int]) -> list[int]:
    """Return where each task's rows begin."""
    return [0, *accumulate(heads)][:-1]
