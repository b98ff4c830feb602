"""The plain U-Net in a trained network, if it predicts the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor, nn

from nnunet_ext.errors import UserError, one_line
from nnunet_ext.foreign.class_names import check_class_names


class NotPlainError(UserError):
    """A network that predicts with more than the network of its plans."""


def plain_unet(
    trainer: type[nnUNetTrainer],
    plans: Mapping[str, Any],
    configuration: str,
    dataset_json: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    file: Path,
) -> nn.Module:
    """Return nnU-Net's own network with those weights of a trained network that it has.

    That it predicts the same is verified on a random image.

    Args:
        trainer: The trainer.
        plans: The model's plans.
        configuration: Its configuration.
        dataset_json: Its dataset.json.
        weights: Of the trainer's network.
        file: The checkpoint, for messages.

    Raises:
        NotPlainError: The network of the plans is not in the trainer's, or predicts otherwise.
        UserError: The weights are not those of the trainer's network, or the plans name anything but parts of networks.
    """
    check_class_names(plans, file)
    manager = PlansManager(deepcopy(dict(plans)))
    of = manager.get_configuration(configuration)
    channels = determine_num_input_channels(manager, of, dict(dataset_json))
    heads = manager.get_label_manager(dict(dataset_json)).num_segmentation_heads
    whole, plain = (
        kind.build_network_architecture(manager, of, channels, heads, enable_deep_supervision=False).eval()
        for kind in (trainer, nnUNetTrainer)
    )
    try:
        whole.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise UserError(
            f"{file}: expected weights of the network in its plans, got others ({one_line(error)}). Restore the "
            f"checkpoint."
        ) from error
    plain.load_state_dict(_weights_of(plain, weights, file))
    if not _predict_alike(whole, plain, (channels, *_size(plain, of.patch_size))):
        raise NotPlainError(
            f"{file}: expected a network that predicts with the plans' U-Net alone, but {trainer.__name__} does not, "
            f"or not with its knobs. Predict with the model as it is."
        )
    return plain


def _weights_of(plain: nn.Module, weights: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    own = plain.state_dict()
    missing = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
    if missing:
        raise NotPlainError(
            f"{file}: expected the plans' U-Net in the network, but {missing[0]!r} is not there or of another shape. "
            f"Predict with the model as it is."
        )
    return {name: weights[name] for name in own}


def _size(plain: Any, patch: Sequence[int]) -> Sequence[int]:
    """Return twice the size that the bottleneck needs; of networks without strides, the patch."""
    strides = getattr(getattr(plain, "encoder", None), "strides", None)
    if strides is None:
        return patch
    size = [2] * len(patch)
    for stride in strides:
        size = [length * step for length, step in zip(size, stride, strict=True)]
    return size


@torch.no_grad()
def _predict_alike(whole: nn.Module, plain: nn.Module, shape: Sequence[int]) -> bool:
    """Compare logits of a noise image."""
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    return torch.equal(whole(image), plain(image))
