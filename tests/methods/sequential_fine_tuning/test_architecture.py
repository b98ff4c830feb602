"""The features of a U-Net's stages, against hooks on stock's own forward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from nnunet_ext.methods.sequential_fine_tuning.architecture import Features, FeatureUNet


def unet(kind: Any) -> Any:
    torch.manual_seed(0)
    network = kind(1, 3, (4, 6, 8), nn.Conv2d, 3, (1, 2, 2), 1, 2, 1, norm_op=nn.InstanceNorm2d, nonlin=nn.LeakyReLU)
    network.decoder.deep_supervision = True
    return network


@pytest.mark.parametrize("kind", [PlainConvUNet, ResidualEncoderUNet])
def test_the_features_are_stocks_and_so_are_logits_and_names(kind: Any) -> None:
    stock, images = unet(kind).eval(), torch.randn(2, 1, 8, 8)
    seen: list[torch.Tensor] = []
    hooks = [
        each.register_forward_hook(lambda _, __, output: seen.append(output))
        for each in (*stock.encoder.stages, *stock.decoder.stages)
    ]
    logits = stock(images)
    for hook in hooks:
        hook.remove()
    ours = FeatureUNet(unet(kind))
    names = {name.removeprefix("decoder.") for name in stock.state_dict()}
    assert {name.removeprefix("decoder.") for name in ours.state_dict()} == names
    assert list(ours.state_dict()) == list(stock.state_dict())
    found = ours.train()(images)
    assert isinstance(found, Features)
    assert len(found.stages) == len(seen) == 5
    assert all(torch.equal(a, b) for a, b in zip(found.stages, seen, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(ours.eval().features(images), seen, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(ours.eval()(images), logits, strict=True))
    frozen = {name for name, each in ours.named_parameters() if not each.requires_grad}
    assert frozen == {name for name, _ in ours.named_parameters() if ".seg_layers." in name}
    assert len(frozen) == 4


def test_another_network() -> None:
    with pytest.raises(TypeError, match="expected plans of a PlainConvUNet or ResidualEncoderUNet, got Linear"):
        FeatureUNet(nn.Linear(1, 1))  # type: ignore[arg-type]
