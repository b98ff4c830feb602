"""The U-Net that plans describe, for a method to build on."""

from __future__ import annotations

from collections.abc import Sequence

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_ext.errors import UserError


def check_unet(network: nn.Module) -> PlainConvUNet | ResidualEncoderUNet:
    """Return the network if it is one of the two that nnU-Net plans.

    Raises:
        TypeError: It is neither a PlainConvUNet nor a ResidualEncoderUNet.
    """
    if not isinstance(network, PlainConvUNet | ResidualEncoderUNet):
        raise TypeError(f"expected plans of a PlainConvUNet or ResidualEncoderUNet, got {type(network).__name__}")
    return network


def planned_unet(
    plans_manager: PlansManager,
    configuration_manager: ConfigurationManager,
    channels: int,
    classes: int,
    deep_supervision: bool,
) -> PlainConvUNet | ResidualEncoderUNet:
    """Return the network that stock nnU-Net would train.

    Raises:
        UserError: The plans describe another kind of network.
    """
    network = nnUNetTrainer.build_network_architecture(
        plans_manager, configuration_manager, channels, classes, deep_supervision
    )
    try:
        return check_unet(network)
    except TypeError as error:
        raise UserError(
            f"plans {plans_manager.plans_name!r}: {error}. Plan with ExperimentPlanner, nnUNetPlannerResEncM or a "
            f"planner of nnunet_ext."
        ) from error


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
        ValueError: ``kernel_sizes`` does not have one entry for each stage.
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
