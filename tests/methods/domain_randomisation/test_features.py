"""What hooks do to the features of a stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nnunet_ext.methods.domain_randomisation.features import RandomFeatures
from nnunet_ext.methods.domain_randomisation.style import Style

KINDS = ("trid", "efdmix", "mixstyle")
FEATURES = 3 + torch.randn(4, 6, 5, 6, 7, generator=torch.Generator().manual_seed(0))


def change(kind: str, seed: int = 0, **knobs: Any) -> RandomFeatures:
    return RandomFeatures({"features": kind, "p": 1.0, "range": "running"} | knobs, np.random.default_rng(seed))


def different() -> Tensor:
    """Samples that differ in the shape of their distributions."""
    return torch.stack([sample.sign() * sample.abs() ** power for power, sample in enumerate(FEATURES, start=1)])


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind: str):
    first, second = (change(kind)(different()) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, change(kind, 1)(different()))
    again = change(kind)
    assert not torch.equal(again(different()), again(different()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_coin_for_each_sample(kind: str):
    features, found = different(), change(kind, p=0.5)
    number = 0
    for _ in range(100):
        changed = found(features)
        number += sum(not torch.equal(one, other) for one, other in zip(changed, features, strict=True))
    assert 160 < number < 240
    assert torch.equal(change(kind, p=0.0)(features), features)


@pytest.mark.parametrize("kind", KINDS)
def test_half_floats_stay(kind: str):
    assert change(kind)(different().half()).dtype == torch.float16


@pytest.mark.parametrize("kind", KINDS)
def test_in_train_mode_only(kind: str):
    found, stage, features = change(kind), nn.Sequential(nn.Conv3d(6, 6, 1)), different()
    plain = stage(features)
    stage.register_forward_hook(found.after)
    assert not torch.equal(stage(features), plain)
    assert torch.equal(stage.eval()(features), plain)
    after = nn.Sequential(nn.Identity())
    after.register_forward_pre_hook(found.before)
    assert not torch.equal(after(features), features)
    assert torch.equal(after.eval()(features), features)


def test_trid_by_the_range():
    found = change("trid", range=[2, 3])(FEATURES)
    before, after = Style.of(FEATURES), Style.of(found)
    kept = torch.isclose(after.mean, before.mean) & torch.isclose(after.deviation, before.deviation)
    new = (after.mean > 1.99) & (after.mean < 3.01) & (after.deviation > 1.99) & (after.deviation < 3.01)
    assert (kept | new).all()
    assert kept.any()
    assert new.any()


@pytest.mark.parametrize("alpha", [0.05, 0.1, 1.0, 7.0])
def test_the_coins_of_trid_are_fair_whatever_its_beta_distribution(alpha: float):
    """Why there is no knob for it: a lambda for each coin; ours are drawn without one."""
    generator = np.random.default_rng(0)
    coins = generator.random(40_000) < generator.beta(alpha, alpha, 40_000)
    assert coins.mean() == pytest.approx(0.5, abs=0.01)


def test_half_of_the_channels_are_changed():
    features = torch.randn(50, 40, 10, generator=torch.Generator().manual_seed(0))
    changed = ~torch.isclose(Style.of(change("trid")(features)).deviation, Style.of(features).deviation, atol=1e-6)
    assert float(changed.float().mean()) == pytest.approx(0.5, abs=0.03)


def test_trid_by_the_range_of_the_last_steps():
    found = change("trid")
    for step in range(3):
        found(FEATURES + step)
    limits = found.range.limits()
    assert limits[0, 0] < 3.1
    assert limits[1, 0] > 4.9
    changed = Style.of(found(100 + FEATURES))
    assert float(changed.mean.min()) < 101  # some of the earlier range, the others kept
    assert len(found.range.state()) == 4
    assert not change("trid", range=[0, 1]).range.state()


def test_trid_has_a_gradient_of_the_ratio():
    features = FEATURES[:1].clone().requires_grad_()
    changed = change("trid")(features)
    changed.sum().backward()
    ratio = Style.of(changed).deviation / Style.of(features).deviation
    torch.testing.assert_close(features.grad[..., 0, 0, 0], ratio, rtol=1e-4, atol=1e-5)


def test_mixstyle_of_two_equal_samples_changes_nothing():
    twins = FEATURES[:1].expand(2, -1, -1, -1, -1)
    torch.testing.assert_close(change("mixstyle")(twins), twins)


def test_mixstyle_lies_between_both():
    two = different()[:2]
    own, after = Style.of(two), Style.of(change("mixstyle", 5)(two))
    for before, now in ((own.mean, after.mean), (own.deviation, after.deviation)):
        low, high = before.aminmax(dim=0)
        assert ((now > low - 1e-3) & (now < high + 1e-3)).all()


def test_efdmix_mixes_with_the_partners_distribution():
    two = different()[:2]
    changed = change("efdmix", 5)(two)
    for one, other, found in ((two[0], two[1], changed[0]), (two[1], two[0], changed[1])):
        one, other, found = one.flatten(1), other.flatten(1), found.flatten(1)
        ranks, low = one.argsort(1), torch.minimum(one.sort(1).values, other.sort(1).values)
        inside = found.gather(1, ranks)
        assert (inside >= low - 1e-3).all()
        assert (inside <= torch.maximum(one.sort(1).values, other.sort(1).values) + 1e-3).all()


@pytest.mark.parametrize("kind", ["efdmix", "mixstyle"])
def test_the_partner_is_another_sample(kind: str):
    found = change(kind)
    for size in (2, 5):
        samples = torch.arange(size)
        drawn = [found._partners(samples, size) for _ in range(50)]
        assert all((partners != samples).all() for partners in drawn)
        assert {int(partners[0]) for partners in drawn} == {*range(1, size)}


@pytest.mark.parametrize("kind", ["efdmix", "mixstyle"])
def test_partners_from_other_sites(kind: str):
    found, features = change(kind), different()
    found.sites = ["Bern", "Oslo", "Bern", "Bern"]
    drawn = [found._partners(torch.arange(4), 4).tolist() for _ in range(50)]
    assert {tuple(each[place] for place in (0, 2, 3)) for each in drawn} == {(1, 1, 1)}
    assert {each[1] for each in drawn} == {0, 2, 3}
    assert not torch.equal(found(features), features)
    found.sites = ["Oslo"] * 4
    assert torch.equal(found(features), features)


def test_shares_of_half_a_tenth():
    shares = change("mixstyle")._shares(20_000)
    assert shares.mean() == pytest.approx(0.5, abs=0.01)
    assert shares.var() == pytest.approx(0.25 / 1.2, rel=0.02)  # of Beta(.1, .1)


def test_a_batch_of_one():
    assert not torch.equal(change("trid", 1)(FEATURES[:1]), FEATURES[:1])


@pytest.mark.parametrize("kind", KINDS)
def test_torch_compile_takes_the_changes(kind: str):
    """Its graph ends at the hooks, which run as they are."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(6, 6, 1), nn.Conv3d(6, 2, 1))
    features, found = different(), change(kind, p=0.5)
    compiled = torch.compile(network, backend="eager")
    network[0].register_forward_hook(found.after)
    for _ in range(3):
        found.generator = np.random.default_rng(1)
        mine = compiled(features)
        found.generator = np.random.default_rng(1)
        found.range.load_state(found.range.state()[:-1])
        torch.testing.assert_close(network(features), mine)
    torch.testing.assert_close(compiled.eval()(features), network(features))
