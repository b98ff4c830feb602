"""DoDNet: a U-Net whose last layers are made for each image and task.

[0] Zhang et al., DoDNet: learning to segment multi-organ and tumors from multiple partially labeled datasets, CVPR
2021, https://arxiv.org/abs/2011.10217
[1] https://github.com/jianpengz/DoDNet at f06ce1b (the authors' code; none of it is used here)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import Tensor, nn

from nnunet_ext.collection.network.input_stems import InputStems
from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.networks.dynamic_head import WIDTH, DynamicHead, bounded
from nnunet_ext.networks.unet import check_unet

if TYPE_CHECKING:
    from typing_extensions import Self

CONTROLLER = ("controller.weight", "controller.bias")


class DoDNet(TaskNetwork):
    """Dynamic on-demand network [0] over any plain or residual-encoder U-Net, 2d or 3d.

    The last decoder features are reduced to a few channels by a 1x1x1 convolution. A linear controller makes, from the
    pooled bottleneck and the one-hot task, the kernels of the :class:`DynamicHead` that turns them into logits, a set
    for every sample: a batch may mix tasks, and another task on the same image costs only its head.

    Differences from the authors' code: encoder and decoder are those of the plans (theirs: weight-standardized
    residual blocks with group norm, added skips), and the bottleneck is pooled as it is (theirs: after group norm, ReLU
    and one more 1x1x1 convolution, group norm and ReLU). Instance norm makes each channel's mean the same for all
    images, so pooling leaves little of the image (see ``condition``). As many outputs as the task has heads (theirs:
    two, organ and tumour); logits are :func:`bounded`; deep supervision, with the same kernels for all scales (theirs:
    none).

    Args:
        unet: The network that the plans describe; its segmentation layers make the head's features, so its number of
            classes is the width of the head.
        heads: Logits of each task: classes with background, or regions.
        channels: Numbers of input channels that occur.
        depth: Layers of the dynamic head.
        deep_supervision: Whether the lower scales have features for the head too.
        condition: What the controller knows about the image: "pooled", the mean of the bottleneck over space, or
            "pre_norm", the mean of what the bottleneck's last normalization is given, which instance norm would remove.

    Raises:
        TypeError: ``unet`` is neither a PlainConvUNet nor a ResidualEncoderUNet.

    Example:
        >>> import torch
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> from torch import nn
        >>> from nnunet_ext import DoDNet
        >>> sizes = (1, 3, (8, 16, 32), nn.Conv3d, 3, (1, 2, 2), 1, 8, 1)  # what plans say of a U-Net
        >>> unet = PlainConvUNet(*sizes, norm_op=nn.InstanceNorm3d, nonlin=nn.LeakyReLU)
        >>> network = DoDNet(unet, heads=(2, 3), channels=(1,))
        >>> images = torch.randn(2, 1, 16, 16, 16)
        >>> network.set_task(1)
        >>> network(images).shape
        torch.Size([2, 3, 16, 16, 16])
    """

    def __init__(
        self,
        unet: PlainConvUNet | ResidualEncoderUNet,
        *,
        heads: Sequence[int],
        channels: Sequence[int],
        depth: int = 3,
        deep_supervision: bool = True,
        condition: str = "pooled",
    ) -> None:
        super().__init__(heads)
        check_unet(unet)
        self.encoder = unet.encoder
        self.decoder = unet.decoder
        layers = list(reversed(unet.decoder.seg_layers))
        # not under their old name, which -pretrained_weights leaves out; no unused ones: DDP needs every gradient
        self.pre_heads = nn.ModuleList(layers if deep_supervision else layers[:1])
        self.decoder.seg_layers = nn.ModuleList(nn.Identity() for _ in layers)
        InputStems.put_into(unet.encoder, channels)
        self.head = DynamicHead(max(heads), width=unet.decoder.num_classes, depth=depth)
        self.controller = nn.Linear(unet.encoder.output_channels[-1] + len(heads), self.head.parameter_count)
        self._initialize_controller()
        self._before_norm: Tensor | None = None
        if condition == "pre_norm":
            last_convolution(unet.encoder).register_forward_hook(self._keep_pooled)

    @classmethod
    def planned(
        cls,
        unet: PlainConvUNet | ResidualEncoderUNet,
        knobs: Mapping[str, Any],
        table: TaskTable,
    ) -> Self:
        """Build the network for the tasks of a table.

        Args:
            unet: See the class.
            knobs: Those of DoDNet's card.
            table: The tasks.
        """
        return cls(
            unet,
            heads=table.heads,
            channels=table.channel_numbers,
            depth=knobs["head_depth"],
            deep_supervision=knobs["deep_supervision"],
            condition=knobs["condition"],
        )

    @torch.no_grad()
    def _initialize_controller(self) -> None:
        """As nnU-Net's layers: torch's own learns more slowly; for heads wider than 8, kernels no larger than at 8."""
        nn.init.kaiming_normal_(self.controller.weight, a=1e-2)
        nn.init.zeros_(self.controller.bias)
        if self.head.width > WIDTH:
            self.controller.weight[: self.head.weight_count] *= math.sqrt(WIDTH / self.head.width)

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return what does not depend on the task: the head's features over scales and the pooled bottleneck."""
        skips = self.encoder(x)
        before_norm, self._before_norm = self._before_norm, None
        features = self.decoder(skips)
        scales = features if isinstance(features, list) else [features]
        scales = [layer(scale) for layer, scale in zip(self.pre_heads, scales, strict=False)]
        return scales, pooled(skips[-1]) if before_norm is None else before_norm

    def decode(self, shared: tuple[list[Tensor], Tensor], tasks: Tensor) -> Tensor | list[Tensor]:
        """Return logits for ``tasks`` (B), one for each sample, with as many heads as the largest task has."""
        features, pooled = shared
        kernels = self.kernels(pooled, tasks)
        logits = [bounded(self.head(scale, kernels)).to(scale.dtype) for scale in features]
        return logits if self.decoder.deep_supervision else logits[0]

    def kernels(self, pooled: Tensor, tasks: Tensor) -> Tensor:
        """Return the head's parameters (B, P) of pooled features (B, C) and tasks (B); -1 is the code of no task."""
        numbers = torch.arange(len(self.heads), device=tasks.device)
        one_hot = (tasks.unsqueeze(1) == numbers).to(pooled.dtype)
        return self.controller(torch.cat((pooled, one_hot), 1))

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the feature-map elements of one sample, as nnU-Net's planner counts them."""
        elements, size = super().compute_conv_feature_map_size(input_size), list(input_size)
        for strides in self.encoder.strides[: len(self.pre_heads) if self.decoder.deep_supervision else 1]:
            size = [length // step for length, step in zip(size, strides, strict=True)]
            elements += self.head.compute_conv_feature_map_size(size)
        return elements

    def adopt(
        self, weights: Mapping[str, Tensor], heads: Sequence[int], places: Sequence[int | None]
    ) -> dict[str, Tensor]:
        """Return another DoDNet's weights in the shapes of this one (see :meth:`TaskNetwork.adopt`).

        The controller's columns of tasks move to their new places, its rows to those of a head with more or fewer
        outputs; new ones start fresh. A controller of another head (width, depth) or bottleneck is dropped.
        """
        adopted = {name: tensor for name, tensor in weights.items() if name not in CONTROLLER}
        theirs = DynamicHead(max(heads), width=self.head.width, depth=self.head.depth)
        features = self.controller.in_features - len(self.heads)
        before = weights.get(CONTROLLER[0])
        if before is None or before.shape != (theirs.parameter_count, features + len(heads)):
            return adopted
        outputs = min(theirs.heads, self.head.heads)
        rows, old_rows = self.head.places_of(outputs), theirs.places_of(outputs)
        weight, bias = (parameter.detach().clone() for parameter in (self.controller.weight, self.controller.bias))
        weight[rows, :features] = before[old_rows, :features]
        for new, old in enumerate(places):
            if old is not None:
                weight[rows, features + new] = before[old_rows, features + old]
        bias[rows] = weights[CONTROLLER[1]][old_rows]
        return adopted | dict(zip(CONTROLLER, (weight, bias), strict=True))

    def _keep_pooled(self, _: nn.Module, __: tuple[Tensor], output: Tensor) -> None:
        self._before_norm = pooled(output)


def pooled(features: Tensor) -> Tensor:
    """Return the mean over space (B, C) of features (B, C, D, H, W) or (B, C, H, W)."""
    return features.flatten(2).mean(2)


def last_convolution(encoder: Any) -> nn.Module:
    """Return the convolution before the bottleneck's last normalization, in a residual block that of its main path."""
    stage = encoder.stages[-1]
    if hasattr(stage, "blocks"):
        block = stage.blocks[-1]
        return (block.conv3 if hasattr(block, "conv3") else block.conv2).conv
    return stage[-1].convs[-1].conv
