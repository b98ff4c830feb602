"""UniSeg: one U-Net for many tasks, told by a learnable prompt which one it is on.

[0] Ye et al., UniSeg: a prompt-driven universal segmentation model as well as a strong representation learner, MICCAI
2023, https://arxiv.org/abs/2304.03493
[1] https://github.com/yeerwen/UniSeg at e3ae40d (the authors' code, on nnU-Net v1; nothing of it is used here)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.helper import get_matching_convtransp
from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from dynamic_network_architectures.building_blocks.simple_conv_blocks import StackedConvBlocks
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn
from torch.nn import functional

from nnunet_ext.base.decoder import decoder_like


class InputStems(nn.Module):
    """One first convolution for each number of input channels; everything after it is shared.

    In train mode the stems that a batch does not use get a gradient of 0: DDP wants one for every parameter.

    Args:
        conv: The convolution to be multiplied; its own number of input channels does not matter.
        channels: Numbers of input channels.
    """

    def __init__(self, conv: nn.Conv2d | nn.Conv3d, channels: Sequence[int]) -> None:
        super().__init__()
        options: dict[str, Any] = {"stride": conv.stride, "padding": conv.padding, "bias": conv.bias is not None}
        make = type(conv)
        self.convs = nn.ModuleDict(
            {str(c): make(c, conv.out_channels, conv.kernel_size, **options) for c in sorted(set(channels))}  # type: ignore[arg-type]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, F, D, H, W) of images (B, C, D, H, W).

        Raises:
            ValueError: There is no stem for C channels.
        """
        used = str(x.shape[1])
        if used not in self.convs:
            raise ValueError(
                f"expected images with {', '.join(self.convs)} channels, got {used}; check the task's channels"
            )
        y = self.convs[used](x)
        if self.training:
            unused = [conv for number, conv in self.convs.items() if number != used]
            y = y + sum(0 * parameter.sum() for conv in unused for parameter in conv.parameters())
        return y


class UniSeg(nn.Module):
    """Universal segmentation network [0] over any plain or residual-encoder U-Net, 2d or 3d, any strides.

    A learnable prompt with one channel per task, of the bottleneck's size, is concatenated to the bottleneck; three
    convolutions (FUSE) turn it into the prompts of all tasks. The chosen task's prompt channel is appended to the
    bottleneck before the decoder, whose heads all tasks share. Encoder and FUSE do not know the task, so
    :meth:`encode` serves all tasks and :meth:`decode` is repeated per task.

    What differs from the authors' code: decoder kernels and biases are those of the plans (nnU-Net v2), not v1's,
    unless ``decoder_kernel_sizes`` says otherwise; the prompt is interpolated where the input is not of the training
    patch's size; any set of channel numbers has its stem; a batch may mix tasks.

    Args:
        unet: The network that the plans describe, with as many classes as the task with most has.
        tasks: Number of tasks.
        channels: Numbers of input channels that occur.
        patch_size: Training patch, voxels (D, H, W).
        decoder_kernel_sizes: Kernel size of each decoder stage, full resolution first; the encoder's by default.

    Raises:
        TypeError: ``unet`` is neither a PlainConvUNet nor a ResidualEncoderUNet.
        ValueError: ``decoder_kernel_sizes`` has not one entry for each decoder stage.
    """

    def __init__(
        self,
        unet: PlainConvUNet | ResidualEncoderUNet,
        *,
        tasks: int,
        channels: Sequence[int],
        patch_size: Sequence[int],
        decoder_kernel_sizes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.decoder = decoder_like(unet, unet.decoder.num_classes, decoder_kernel_sizes)
        self.encoder = encoder = unet.encoder
        features = encoder.output_channels[-1]
        stride = encoder.strides[-1]
        upsampling = get_matching_convtransp(conv_op=encoder.conv_op)
        self.decoder.transpconvs[0] = upsampling(
            features + 1, encoder.output_channels[-2], stride, stride, bias=encoder.conv_bias
        )
        _put_stems(encoder, channels)
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
        # no buffer: DDP would broadcast it in every forward
        self._task = torch.zeros(1, dtype=torch.long)

    def set_task(self, task: int) -> None:
        """Choose the task of the next forwards, for all samples; torch.compile does not recompile for it.

        Raises:
            ValueError: No such task.
        """
        if not 0 <= task < self.prompt.shape[1]:
            raise ValueError(f"expected a task from 0 to {self.prompt.shape[1] - 1}, got {task}; see the task table")
        self._task.fill_(task)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Segment images (B, C, D, H, W) for the task of :meth:`set_task`.

        Returns:
            Logits (B, K, D, H, W) of all shared heads, or with ``decoder.deep_supervision`` their list over scales. The
            task's classes are the first ones: slice before any softmax.
        """
        return self.decode(*self.encode(x), self._task.to(x.device).expand(len(x)))

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return what does not depend on the task: skips, bottleneck last, and the prompts of all tasks (B, T, ...)."""
        skips = self.encoder(x)
        size = skips[-1].shape[2:]
        prompt: Tensor = self.prompt
        if prompt.shape[2:] != size:
            prompt = functional.interpolate(prompt, size=size, mode=("linear", "bilinear", "trilinear")[len(size) - 1])
        prompts = self.fuse(torch.cat((skips[-1], prompt.expand(len(x), *prompt.shape[1:])), 1))
        return skips, prompts

    def decode(self, skips: list[Tensor], prompts: Tensor, tasks: Tensor) -> Tensor | list[Tensor]:
        """Return logits for ``tasks`` (B), one for each sample."""
        chosen = prompts[torch.arange(len(prompts), device=prompts.device), tasks].unsqueeze(1)
        return self.decoder([*skips[:-1], torch.cat((skips[-1], chosen), 1)])


def _put_stems(encoder: PlainConvEncoder | ResidualEncoder, channels: Sequence[int]) -> None:
    """Replace the encoder's first convolution by one for each number of channels."""
    first: Any = encoder.stages[0][0] if isinstance(encoder, PlainConvEncoder) else encoder.stem
    block = first.convs[0]
    block.conv = block.all_modules[0] = InputStems(block.conv, channels)
