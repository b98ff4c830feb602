"""A decoder like that of a given U-Net."""

from __future__ import annotations

from collections.abc import Sequence

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder

from nnunet_ext.networks.unet_check import check_unet


def decoder_like(
    unet: PlainConvUNet | ResidualEncoderUNet,
    classes: int | None = None,
    kernel_sizes: Sequence[Sequence[int]] | None = None,
) -> UNetDecoder:
    """Return a new decoder on the encoder of ``unet``, of the form of its own decoder, with fresh weights.

    Args:
        unet: The network that the plans describe.
        classes: Channels of the segmentation heads; as many as its own decoder has by default.
        kernel_sizes: Kernel size of each stage, full resolution first; the encoder's by default. nnU-Net v1 shifts them
            by one stage: ``unet.encoder.kernel_sizes[1:]``.

    Raises:
        TypeError: ``unet`` is neither a PlainConvUNet nor a ResidualEncoderUNet.
        ValueError: ``kernel_sizes`` has not one entry for each stage.
    """
    check_unet(unet)
    stages, encoder = unet.decoder.stages, unet.encoder
    before = encoder.kernel_sizes
    if kernel_sizes is not None:
        if len(kernel_sizes) != len(stages):
            raise ValueError(f"expected {len(stages)} decoder kernel sizes, got {kernel_sizes!r}; give one a stage")
        encoder.kernel_sizes = [*kernel_sizes, before[-1]]  # where a UNetDecoder reads them
    decoder = UNetDecoder(
        encoder,
        unet.decoder.num_classes if classes is None else classes,
        [len(stage.convs) for stage in stages],
        unet.decoder.deep_supervision,
        nonlin_first=_nonlin_first(unet.decoder),
    )
    encoder.kernel_sizes = before
    return decoder


def _nonlin_first(decoder: UNetDecoder) -> bool:
    """Whether the decoder's blocks run conv -> nonlin -> norm; the order of their modules is the only record."""
    block = decoder.stages[0].convs[0]
    if not hasattr(block, "norm") or not hasattr(block, "nonlin"):
        return False
    modules = list(block.all_modules)
    return modules.index(block.nonlin) < modules.index(block.norm)
