"""UniSeg: one U-Net for many tasks, told by a learnable prompt which one it is on.

[0] Ye et al., UniSeg: a prompt-driven universal segmentation model as well as a strong representation learner, MICCAI
2023, https://arxiv.org/abs/2304.03493
[1] https://github.com/yeerwen/UniSeg at e3ae40d (the authors' code, on nnU-Net v1; none of it is used here)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.helper import get_matching_convtransp
from dynamic_network_architectures.building_blocks.simple_conv_blocks import StackedConvBlocks
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn
from torch.nn import functional

from nnunet_ext.collection.network.input_stems import InputStems
from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.networks.moved import moved
from nnunet_ext.networks.unet import decoder_like


class UniSeg(TaskNetwork):
    """Universal segmentation network [0] over any plain or residual-encoder U-Net, 2d or 3d, any strides.

    A learnable prompt with one channel per task, of the bottleneck's size, is concatenated to the bottleneck; three
    convolutions (FUSE) turn it into the prompts of all tasks. The chosen task's prompt channel is appended to the
    bottleneck before the decoder, whose heads all tasks share. Encoder and FUSE do not know the task, so
    :meth:`encode` serves all tasks and :meth:`decode` is repeated per task.

    Differences from the authors' code: decoder kernels and biases are those of the plans (nnU-Net v2), not v1's,
    unless ``decoder_kernel_sizes`` says otherwise; the prompt is interpolated where the input is not of the training
    patch's size; each number of channels has its stem; a batch may mix tasks.

    Args:
        unet: The network that the plans describe, with as many classes as the largest task has.
        heads: Logits of each task: classes with background, or regions.
        channels: Numbers of input channels that occur.
        patch_size: Training patch, voxels (D, H, W).
        decoder_kernel_sizes: Kernel size of each decoder stage, full resolution first; the encoder's by default.

    Raises:
        TypeError: ``unet`` is neither a PlainConvUNet nor a ResidualEncoderUNet.
        ValueError: ``decoder_kernel_sizes`` does not have one entry for each decoder stage.

    Example:
        >>> import torch
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> from torch import nn
        >>> from nnunet_ext import UniSeg
        >>> sizes = (1, 3, (8, 16, 32), nn.Conv3d, 3, (1, 2, 2), 1, 3, 1)  # what plans say of a U-Net
        >>> unet = PlainConvUNet(*sizes, norm_op=nn.InstanceNorm3d, nonlin=nn.LeakyReLU)
        >>> network = UniSeg(unet, heads=(2, 3), channels=(1,), patch_size=(16, 16, 16))
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
        patch_size: Sequence[int],
        decoder_kernel_sizes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(heads)
        tasks = len(heads)
        self.decoder = decoder_like(unet, unet.decoder.num_classes, decoder_kernel_sizes)
        self.encoder = encoder = unet.encoder
        features = encoder.output_channels[-1]
        stride = encoder.strides[-1]
        upsampling = get_matching_convtransp(conv_op=encoder.conv_op)
        self.decoder.transpconvs[0] = upsampling(
            features + 1, encoder.output_channels[-2], stride, stride, bias=encoder.conv_bias
        )
        InputStems.put_into(encoder, channels)
        size = list(patch_size)
        for strides in encoder.strides:
            size = [length // step for length, step in zip(size, strides, strict=True)]
        self.prompt = nn.Parameter(torch.randn(1, tasks, *size))
        hidden = (features + tasks) // 4
        self.fuse = StackedConvBlocks(
            3,
            encoder.conv_op,
            features + tasks,
            [hidden, hidden, tasks],
            encoder.kernel_sizes[-1],
            1,
            True,
            encoder.norm_op,
            encoder.norm_op_kwargs,
            nonlin=encoder.nonlin,
            nonlin_kwargs=encoder.nonlin_kwargs,
        )
        self.apply(InitWeights_He(1e-2))

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return what does not depend on the task: skips, bottleneck last, and the prompts of all tasks (B, T, ...)."""
        skips = self.encoder(x)
        size = skips[-1].shape[2:]
        prompt = _resized(self.prompt, size)
        prompts = self.fuse(torch.cat((skips[-1], prompt.expand(len(x), *prompt.shape[1:])), 1))
        return skips, prompts

    def decode(self, shared: tuple[list[Tensor], Tensor], tasks: Tensor) -> Tensor | list[Tensor]:
        """Return logits for ``tasks`` (B), one for each sample, of all shared heads."""
        skips, prompts = shared
        chosen = prompts[torch.arange(len(prompts), device=prompts.device), tasks].unsqueeze(1)
        return self.decoder([*skips[:-1], torch.cat((skips[-1], chosen), 1)])

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the convolution feature-map elements of one sample, FUSE's too, as nnU-Net's planner counts them."""
        size = list(input_size)
        for strides in self.encoder.strides:
            size = [length // step for length, step in zip(size, strides, strict=True)]
        return super().compute_conv_feature_map_size(input_size) + self.fuse.compute_conv_feature_map_size(size)

    def adopt(
        self, weights: Mapping[str, Tensor], heads: Sequence[int], places: Sequence[int | None]
    ) -> dict[str, Tensor]:
        """Return another UniSeg's weights in the shapes of this one (see :meth:`TaskNetwork.adopt`).

        New tasks get fresh prompts, columns and rows of FUSE; the old tasks' prompts do not depend on them, so an old
        task's logits stay what they were. The prompt of another patch is interpolated, as it is for images of another
        size. FUSE is reinitialized as a whole if it is narrower, or if the bottleneck differs.
        """
        if "prompt" not in weights:
            return dict(weights)
        kept = [(new, old) for new, old in enumerate(places) if old is not None]
        adopted = {name: tensor for name, tensor in weights.items() if not name.startswith("fuse.")}
        adopted |= self._adopted_fuse(weights, len(heads), kept)
        if weights["prompt"].ndim == self.prompt.ndim:
            prompt = moved(self.prompt[0], _resized(weights["prompt"], self.prompt.shape[2:])[0], kept)
            adopted |= {} if prompt is None else {"prompt": prompt.unsqueeze(0)}
        shared = [(head, head) for head in range(min(max(heads), self.decoder.num_classes))]
        for name, fresh in self.state_dict().items():
            if name.startswith("decoder.seg_layers."):
                rows = moved(fresh, weights.get(name), shared)
                adopted |= {} if rows is None else {name: rows}
        return adopted

    def _adopted_fuse(
        self, weights: Mapping[str, Tensor], tasks: int, kept: Sequence[tuple[int, int]]
    ) -> dict[str, Tensor]:
        """Return FUSE in its shapes here, or nothing: its layers are one function of bottleneck and prompt."""
        first, features = weights.get("fuse.convs.0.conv.weight"), self.encoder.output_channels[-1]
        if first is None or first.shape[1] != features + tasks:
            return {}
        hidden = [(index, index) for index in range(len(first))]
        columns = [(index, index) for index in range(features)]
        columns += [(features + new, features + old) for new, old in kept]
        layers = ((hidden, columns), (hidden, hidden), (kept, hidden))
        adopted: dict[str, Tensor] = {}
        for name, fresh in self.state_dict().items():
            if name.startswith("fuse."):
                tensor = moved(fresh, weights.get(name), *layers[int(name.split(".")[2])])
                if tensor is None:
                    return {}
                adopted[name] = tensor
        return adopted


def _resized(prompt: Tensor, size: Sequence[int]) -> Tensor:
    """Return a prompt (1, T, D, H, W) of another size."""
    if tuple(prompt.shape[2:]) == tuple(size):
        return prompt
    return functional.interpolate(prompt, size=list(size), mode=("linear", "bilinear", "trilinear")[len(size) - 1])
