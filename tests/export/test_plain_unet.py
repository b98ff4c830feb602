"""nnU-Net's network in a trainer's network: found where it predicts the same, and only there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn

from nnunet_ext.errors import UserError
from nnunet_ext.export import plain_unet as module
from nnunet_ext.export.plain_unet import NotPlainError, plain_unet

FILE = Path("checkpoint_final.pth")


class WithAnotherHead(nnUNetTrainer):
    """Has a layer that only training uses."""

    @staticmethod
    def build_network_architecture(*arguments: Any, **more: Any) -> nn.Module:
        network = nnUNetTrainer.build_network_architecture(*arguments, **more)
        network.add_module("auxiliary", nn.Linear(2, 2))
        return network


class Doubled(nnUNetTrainer):
    """Has the same tensors, and predicts otherwise."""

    @staticmethod
    def build_network_architecture(*arguments: Any, **more: Any) -> nn.Module:
        network = nnUNetTrainer.build_network_architecture(*arguments, **more)
        network.register_forward_hook(lambda _, __, logits: 2 * logits)
        return network


class Wrapped(nnUNetTrainer):
    """Has the tensors under other names."""

    @staticmethod
    def build_network_architecture(*arguments: Any, **more: Any) -> nn.Module:
        return nn.Sequential(nnUNetTrainer.build_network_architecture(*arguments, **more))


@pytest.mark.parametrize("size", [[8, 16, 12], [16, 12]])
def test_what_only_training_needs_is_left_out(write_model: Callable[..., Path], size: list[int]) -> None:
    model = write_model(patch_size=size, spacing=[1.0] * len(size))
    plans, dataset_json = (json.loads((model / name).read_text()) for name in ("plans.json", "dataset.json"))
    weights = torch.load(model / "fold_0" / FILE, weights_only=True)["network_weights"]
    extra = {"auxiliary.weight": torch.zeros(2, 2), "auxiliary.bias": torch.zeros(2)}
    of = plans, model.name.rpartition("__")[2], dataset_json
    plain = plain_unet(WithAnotherHead, *of, weights | extra, FILE)
    assert plain.state_dict().keys() == weights.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in plain.state_dict().items())
    with pytest.raises(NotPlainError, match="but Doubled does not, or not with its knobs"):
        plain_unet(Doubled, *of, weights, FILE)
    with pytest.raises(NotPlainError, match=r"expected the plans' U-Net in the network, but 'encoder.* is not there"):
        plain_unet(Wrapped, *of, {f"0.{name}": tensor for name, tensor in weights.items()}, FILE)
    with pytest.raises(UserError, match="expected weights of the network in its plans, got others") as error:
        plain_unet(WithAnotherHead, *of, weights, FILE)
    assert not isinstance(error.value, NotPlainError)


def test_the_random_image_is_small_where_the_network_says_how_small(write_model: Callable[..., Path]) -> None:
    plans = PlansManager(str(write_model(patch_size=[32, 64, 48]) / "plans.json"))
    network = nnUNetTrainer.build_network_architecture(plans, plans.get_configuration("3d_fullres"), 1, 4)
    assert module._size(network, [32, 64, 48]) == [4, 8, 8]
    assert module._size(nn.Identity(), [32, 64, 48]) == [32, 64, 48]


def test_plans_that_would_start_a_program(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {"nonlin": "subprocess.Popen", "nonlin_kwargs": {"args": ["touch", str(marker)]}},
        "_kw_requires_import": ["nonlin"],
    }
    plans = {"plans_name": "Evil", "configurations": {"3d_fullres": {"architecture": architecture}}}
    with pytest.raises(UserError, match=r"names 'subprocess\.Popen', which nnU-Net would call"):
        plain_unet(nnUNetTrainer, plans, "3d_fullres", {}, {}, FILE)
    assert not marker.exists()
