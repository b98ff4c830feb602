"""What the hook does to a batch of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nnunet_ext.methods.domain_randomisation.images import RandomImages

KINDS = ("gin", "histogram")
BATCH = torch.randn(4, 3, 5, 6, 7, generator=torch.Generator().manual_seed(0))


def change(kind: str, masked: tuple[bool, ...] = (False, False), seed: int = 0, **knobs: Any) -> RandomImages:
    return RandomImages({"image": kind, "p": 1.0, "inversion": 0.1} | knobs, masked, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_the_channels_of_the_image_are_changed(kind: str):
    before = BATCH.clone()
    found = change(kind)(BATCH)
    assert torch.equal(BATCH, before)
    assert (found[:, :2] != BATCH[:, :2]).any(dim=(2, 3, 4)).all()
    assert torch.equal(found[:, 2], BATCH[:, 2])  # of a cascade's previous stage
    assert torch.equal(found, change(kind)(BATCH))
    assert not torch.equal(found, change(kind, seed=1)(BATCH))
    assert change(kind)(BATCH[:, :, 0]).shape == (4, 3, 6, 7)


@pytest.mark.parametrize("kind", KINDS)
def test_each_sample_is_drawn_anew(kind: str):
    twins = BATCH[:1].expand(2, -1, -1, -1, -1)
    first, second = change(kind)(twins)[:, :2]
    assert not torch.allclose(first, second, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_a_coin_for_each_sample(kind: str):
    found, number = change(kind, p=0.5), 0
    for _ in range(100):
        number += int((found(BATCH) != BATCH).flatten(1).any(1).sum())
    assert 160 < number < 240


@pytest.mark.parametrize("kind", KINDS)
def test_in_train_mode_only(kind: str):
    network = nn.Sequential(nn.Identity())
    network.register_forward_pre_hook(change(kind).before)
    assert not torch.equal(network(BATCH), BATCH)
    assert torch.equal(network.eval()(BATCH), BATCH)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_outside_of_a_masked_channel_stays_zero(kind: str):
    batch = BATCH.clone()
    batch[..., :2] = 0
    found = change(kind, (True, False))(batch)
    assert (found[:, 0, ..., :2] == 0).all()
    assert (found[:, 1, ..., :2] != 0).any()  # no outside: padding, which nnU-Net's augmentation changes, too
    inside = found[:, 0, ..., 2:]
    assert (inside != batch[:, 0, ..., 2:]).any(dim=(1, 2, 3)).all()
    means = batch[:, 0, ..., 2:].mean(dim=(1, 2, 3)).tolist()
    if kind == "histogram":
        assert inside.mean(dim=(1, 2, 3)).tolist() == pytest.approx(means, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_channel_stays_lost(kind: str):
    batch = BATCH.clone()
    batch[:, 1] = 0
    found = change(kind)(batch)
    assert (found[:, 1] == 0).all()
    assert (found[:, 0] != batch[:, 0]).any()


def test_the_inversion_is_passed_on():
    ramp = torch.linspace(0, 1, 27).view(1, 1, 3, 3, 3)
    assert change("histogram", (False,), inversion=1)(ramp).flatten().diff().max() < 0
    assert change("histogram", (False,), inversion=0)(ramp).flatten().diff().min() > 0


def test_autocast_leaves_the_convolutions_in_float32():
    plain = change("gin")(BATCH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(change("gin")(BATCH), plain)


def test_torch_compile_compiles_the_network_in_one_piece():
    network = nn.Sequential(nn.Conv3d(3, 2, 1))
    compiled, found = torch.compile(network, backend="eager", fullgraph=True), change("gin")
    compiled.register_forward_pre_hook(found.before)
    for _ in range(2):
        found.generator = np.random.default_rng(1)
        mine = compiled(BATCH)
        torch.testing.assert_close(network(change("gin", seed=1)(BATCH)), mine)
    torch.testing.assert_close(compiled.eval()(BATCH), network(BATCH))
