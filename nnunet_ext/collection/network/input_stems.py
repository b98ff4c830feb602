"""First convolutions for images of different numbers of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn


class InputStems(nn.Module):
    """One first convolution for each number of input channels; everything after it is shared.

    In train mode the stems that a batch does not use get a gradient of 0: DDP needs one for every parameter.

    Args:
        conv: The convolution to be replicated; its own number of input channels does not matter.
        channels: Numbers of input channels.
    """

    def __init__(self, conv: nn.Conv2d | nn.Conv3d, channels: Sequence[int]) -> None:
        super().__init__()
        options: dict[str, Any] = {"stride": conv.stride, "padding": conv.padding, "bias": conv.bias is not None}
        make = type(conv)
        self.convs = nn.ModuleDict(
            {str(c): make(c, conv.out_channels, conv.kernel_size, **options) for c in sorted(set(channels))}  # type: ignore[arg-type]
        )
        self.apply(InitWeights_He(1e-2))

    @classmethod
    def put_into(cls, encoder: PlainConvEncoder | ResidualEncoder, channels: Sequence[int]) -> None:
        """Replace the first convolution of ``encoder`` by stems."""
        first: Any = encoder.stages[0][0] if isinstance(encoder, PlainConvEncoder) else encoder.stem
        block = first.convs[0]
        block.conv = block.all_modules[0] = cls(block.conv, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, F, D, H, W) of images (B, C, D, H, W).

        Raises:
            ValueError: There is no stem for C channels.
        """
        fitting = [conv for conv in self.convs.values() if conv.in_channels == x.shape[1]]
        if not fitting:
            raise ValueError(
                f"expected images with {', '.join(self.convs)} channels, got {x.shape[1]}; check the task's channels"
            )
        y = fitting[0](x)
        if self.training:
            unused = [conv for conv in self.convs.values() if conv is not fitting[0]]
            y = y + sum(0 * parameter.sum() for conv in unused for parameter in conv.parameters())
        return y
