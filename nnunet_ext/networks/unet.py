"""The U-Net that plans describe, for a method to build on."""

from __future__ import annotations

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.errors import UserError
from nnunet_ext.networks.unet_check import check_unet


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
