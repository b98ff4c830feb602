"""TransDoDNet: a U-Net whose last layers are made for each task by a transformer with one query per task.

[0] Xie et al., Learning from partially labeled data for multi-organ and tumor segmentation, TPAMI 2023,
https://arxiv.org/abs/2211.06894
[1] https://github.com/jianpengz/DoDNet at f06ce1b (the authors' code; none of it is used here)
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn

from nnunet_ext.collection.network.input_stems import InputStems
from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.methods.transdodnet.query_decoder import QueryDecoder
from nnunet_ext.networks.deformable_encoder import DeformableEncoder
from nnunet_ext.networks.dynamic_head import DynamicHead, bounded
from nnunet_ext.networks.unet import check_unet

ATTENTION_HEADS = 8
POINTS = 4
EXPANSION = 4  # of the feed-forward parts
ACTIVATIONS = {"leaky_relu": nn.LeakyReLU, "gelu": nn.GELU, "relu": nn.ReLU}
VOXELS_PER_TOKEN = 32  # at least; nnU-Net's usual six stages have 512 in the finest level, the authors 256


class TransDoDNet(TaskNetwork):
    """Transformer-made heads [0] over any plain or residual-encoder U-Net, 2d or 3d, any strides.

    The coarsest levels of the encoder, projected to ``hidden_channels``, go through a transformer encoder of deformable
    attention (the memory). A transformer decoder with one learned query per task queries this memory, and a small
    network turns each query into the kernels of three 1x1x1 convolutions, DoDNet's dynamic head. The coarsest memory
    level is added to the bottleneck before the decoder, whose last features the head segments. Only the head knows the
    task, so :meth:`encode` serves all tasks, and in training only the head of the sample's task is run.

    Differences from the authors' code: the plans' encoder and decoder (theirs: ResNet-50; decoder with added skips,
    logits upsampled by 2 in plane), so the head runs at full resolution; as many outputs as the task has; offsets are
    divided by the level's size (theirs: constants); reference points in grid_sample's axis order, sine frequencies in
    pairs (theirs: neither); DeepNorm's initialization leaves offsets and weights of the deformable attention zero
    (theirs: overwrites them), and one switch governs it and the residual scale; a task's query does not attend to those
    of tasks that were added after it, so old tasks do not change; a leaky ReLU in the controller (theirs: ReLU, whose
    units die when steps are large). The transformer's weights start Xavier-normal, feed-forward biases at 0 (theirs:
    left as torch makes them); sine positions are those of voxel centres, as the reference points are (theirs: half a
    voxel off).

    Args:
        unet: The network that the plans describe; its segmentation layers are replaced.
        heads: Logits of each task: classes with background, or regions.
        channels: Numbers of input channels that occur.
        hidden_channels: Channels of the transformer, a multiple of 8.
        levels: Number of the encoder's coarsest levels that the transformer sees; of shallow networks those where a
            token stands for at least 32 voxels, or the coarsest one.
        encoder_layers: Layers of the transformer's encoder.
        decoder_layers: Layers of the transformer's decoder.
        head_width: Channels of the features that the dynamic head takes.
        head_depth: Layers of the dynamic head.
        deep_supervision: Whether the lower scales of the decoder are segmented in training, by the same kernels.
        controller_activation: "leaky_relu", "gelu" or the authors' "relu", between the controller's layers.
        deep_norm: DeepNorm's residual scales and initialization.

    Raises:
        TypeError: ``unet`` is neither a PlainConvUNet nor a ResidualEncoderUNet.

    Example:
        >>> import torch
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> from torch import nn
        >>> from nnunet_ext import TransDoDNet
        >>> sizes = (1, 3, (8, 16, 32), nn.Conv3d, 3, (1, 2, 2), 1, 3, 1)  # what plans say of a U-Net
        >>> unet = PlainConvUNet(*sizes, norm_op=nn.InstanceNorm3d, nonlin=nn.LeakyReLU)
        >>> network = TransDoDNet(unet, heads=(2, 3), channels=(1,))
        >>> images = torch.randn(2, 1, 16, 16, 16)
        >>> network.set_task(1)
        >>> network.eval()(images).shape
        torch.Size([2, 3, 16, 16, 16])
    """

    def __init__(
        self,
        unet: PlainConvUNet | ResidualEncoderUNet,
        *,
        heads: Sequence[int],
        channels: Sequence[int],
        hidden_channels: int = 192,
        levels: int = 3,
        encoder_layers: int = 3,
        decoder_layers: int = 3,
        head_width: int = 8,
        head_depth: int = 3,
        deep_supervision: bool = True,
        controller_activation: str = "leaky_relu",
        deep_norm: bool = True,
    ) -> None:
        super().__init__(heads)
        check_unet(unet)
        self.encoder = encoder = unet.encoder
        self.decoder = unet.decoder
        InputStems.put_into(encoder, channels)
        features = encoder.output_channels
        levels = _levels(encoder.strides, levels)
        shape: dict[str, int] = {
            "levels": levels,
            "heads": ATTENTION_HEADS,
            "points": POINTS,
            "hidden": EXPANSION * hidden_channels,
            "dims": len(encoder.strides[0]),
        }
        alpha, beta = deep_norm_of_encoder(encoder_layers, decoder_layers) if deep_norm else (1.0, 1.0)
        self.projections = nn.ModuleList(
            _projection(encoder, number, hidden_channels, nonlin=False) for number in features[-levels:]
        )
        self.transformer = DeformableEncoder(
            hidden_channels, layers=encoder_layers, activation=nn.ReLU, alpha=alpha, beta=beta, **shape
        )
        self.queries = QueryDecoder(len(heads), hidden_channels, layers=decoder_layers, deep_norm=deep_norm, **shape)
        self.head = DynamicHead(max(heads), width=head_width, depth=head_depth)
        last = nn.Linear(hidden_channels, self.head.parameter_count)
        activation = ACTIVATIONS[controller_activation]()
        self.controller = nn.Sequential(nn.Linear(hidden_channels, hidden_channels), activation, last)
        for parameter in (last.weight, last.bias):  # generated biases start at 0, as nnU-Net's do
            nn.init.zeros_(parameter[self.head.weight_count :])
        self.from_memory = _projection(encoder, hidden_channels, features[-1])
        self.from_encoder = _projection(encoder, features[-1], features[-1])
        # not the decoder's seg_layers, which -pretrained_weights leaves out; no unused ones: DDP needs every gradient
        trained = features[:-1] if deep_supervision else features[:1]
        self.pre_heads = nn.ModuleList(_projection(encoder, number, head_width) for number in trained)
        self.decoder.seg_layers = nn.ModuleList(nn.Identity() for _ in features[:-1])
        self.decoder.num_classes = head_width  # what the planner counts for a scale

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return what all tasks share: features for the head, a list over scales, and all tasks' kernels (B, T, P)."""
        skips = self.encoder(x)
        memory, found = self._ask(skips)
        features = self.decoder([*skips[:-1], self.from_memory(memory) + self.from_encoder(skips[-1])])
        scales = features if isinstance(features, list) else [features]
        return [layer(scale) for layer, scale in zip(self.pre_heads, scales, strict=False)], self.controller(found)

    def decode(self, shared: tuple[list[Tensor], Tensor], tasks: Tensor) -> Tensor | list[Tensor]:
        """Return logits for ``tasks`` (B), one for each sample, with as many heads as the largest task has."""
        features, kernels = shared
        chosen = kernels[torch.arange(len(kernels), device=kernels.device), tasks]
        logits = [bounded(self.head(scale, chosen)).to(scale.dtype) for scale in features]
        return logits if self.decoder.deep_supervision else logits[0]

    @torch.no_grad()
    def silent_units(self, x: Tensor) -> Tensor:
        """Return which of the controller's hidden units are below 0 for the queries of all tasks and all samples.

        Behind a ReLU such a unit outputs nothing and learns nothing from this batch: over many batches it is dead, and
        when most are, all tasks get the same kernels.

        Args:
            x: Images (B, C, D, H, W).

        Returns:
            bool (hidden_channels).
        """
        _, found = self._ask(self.encoder(x))
        return (self.controller[0](found) < 0).flatten(0, 1).all(0)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return what training keeps for one sample in the unit of nnU-Net's planner, transformer and head included."""
        sizes = [tuple(input_size)]
        for strides in self.encoder.strides:
            sizes.append(tuple(length // step for length, step in zip(sizes[-1], strides, strict=True)))
        coarse = sizes[-len(self.projections) :]
        projected = sum(
            layer.compute_conv_feature_map_size(size)  # type: ignore[operator]
            for layer, size in zip(self.projections, coarse, strict=True)
        )
        fused = sum(part.compute_conv_feature_map_size(coarse[-1]) for part in (self.from_memory, self.from_encoder))
        asked = sum(part.compute_conv_feature_map_size(coarse) for part in (self.transformer, self.queries))
        segmented = sizes[1:][: len(self.pre_heads) if self.decoder.deep_supervision else 1]
        made = sum(map(self.head.compute_conv_feature_map_size, segmented))
        return int(super().compute_conv_feature_map_size(input_size) + projected + fused + asked + made)

    def adopt(
        self, weights: Mapping[str, Tensor], heads: Sequence[int], places: Sequence[int | None]
    ) -> dict[str, Tensor]:
        """Return another TransDoDNet's weights in the shapes of this one (see :meth:`TaskNetwork.adopt`).

        Queries are moved to where their tasks are now; new tasks get fresh ones, to which those of old tasks do not
        attend, so an old task's logits stay what they were. The controller makes kernels for more outputs, or fewer.
        """
        adopted = dict(weights)
        theirs = {name.removeprefix("queries."): weights[name] for name in weights if name.startswith("queries.")}
        if theirs.get("content", self.queries.content[:0]).shape == (len(heads), self.queries.content.shape[1]):
            moved = self.queries.adopt(theirs, places)
            adopted |= {f"queries.{name}": tensor for name, tensor in moved.items()}
        else:
            adopted.pop("queries._extra_state", None)  # those rounds are of queries that stay behind
        head = DynamicHead(max(heads), width=self.head.width, depth=self.head.depth)
        for name in ("controller.2.weight", "controller.2.bias"):
            ours = self.state_dict()[name].detach().clone()
            if name in weights and weights[name].shape == (head.parameter_count, *ours.shape[1:]):
                kept = min(head.heads, self.head.heads)
                ours[self.head.places_of(kept)] = weights[name][head.places_of(kept)]
                adopted[name] = ours
        return adopted

    def _ask(self, skips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the coarsest level of the memory (B, C, d, h, w) and what each task's query found in it (B, T, C)."""
        coarse = skips[-len(self.projections) :]
        memory = self.transformer([project(skip) for project, skip in zip(self.projections, coarse, strict=True)])
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in memory], 1)
        return memory[-1], self.queries(tokens, [tuple(level.shape[2:]) for level in memory])


def deep_norm_of_encoder(encoder_layers: int, decoder_layers: int) -> tuple[float, float]:
    """Return DeepNorm's alpha and beta for the encoder of an encoder-decoder."""
    depth = (encoder_layers**4 * decoder_layers) ** (1 / 16)
    return 0.81 * depth, 0.87 / depth


def _levels(strides: Sequence[Sequence[int]], wanted: int) -> int:
    """Return how many of the coarsest levels have few enough tokens: ``wanted`` at most, one at least."""
    voxels = list(accumulate(map(math.prod, strides), operator.mul))
    return max(1, min(wanted, sum(number >= VOXELS_PER_TOKEN for number in voxels[1:])))


def _projection(encoder: Any, inputs: int, outputs: int, *, nonlin: bool = True) -> ConvDropoutNormReLU:
    """Return a 1x1x1 convolution with the plans' norm and nonlinearity; no bias, which the norm would take away."""
    layer = ConvDropoutNormReLU(
        encoder.conv_op,
        inputs,
        outputs,
        1,
        1,
        False,
        encoder.norm_op,
        encoder.norm_op_kwargs,
        nonlin=encoder.nonlin if nonlin else None,
        nonlin_kwargs=encoder.nonlin_kwargs,
    )
    layer.apply(InitWeights_He(1e-2))
    return layer
