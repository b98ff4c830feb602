"""Means and standard deviations of channels, by hand."""

import pytest
import torch

from nnunet_ext.methods.domain_randomisation.style import Style, with_style

X = torch.tensor([[[0.0, 2.0]]])


def style(mean: float, deviation: float) -> Style:
    return Style(torch.tensor([[mean]]), torch.tensor([[deviation]]))


def test_the_style_of_two_voxels():
    own = Style.of(X)
    assert own.mean.item() == 1
    assert own.deviation.item() == pytest.approx(2**0.5, abs=1e-6)  # unbiased


def test_a_channel_of_one_value_stays_finite():
    constant = torch.full((1, 1, 4), 3.0)
    own = Style.of(constant)
    assert own.deviation.item() == pytest.approx(1e-3)
    torch.testing.assert_close(with_style(constant, own, style(0.25, 0.5)), 0 * constant + 0.25, atol=1e-3, rtol=0)


def test_a_random_style_by_hand():
    found = with_style(X, Style.of(X), style(0.25, 0.5))
    torch.testing.assert_close(found, torch.tensor([[[-0.103553, 0.603553]]]), atol=1e-6, rtol=0)


def test_the_own_style_changes_nothing():
    features = torch.randn(3, 4, 5, 6, 7)
    assert torch.equal(with_style(features, Style.of(features), Style.of(features)), features)


def test_the_gradient_is_the_ratio_of_the_standard_deviations():
    features = X.clone().requires_grad_()
    own = Style.of(features)
    with_style(features, own, style(0.25, 0.5)).sum().backward()
    assert torch.equal(features.grad, (0.5 / own.deviation).expand(1, 1, 2))  # the statistics pass none on


def test_half_floats_do_not_overflow():
    features = (300 * torch.randn(1, 2, 64, 64)).half()
    own = Style.of(features)
    assert own.deviation.dtype == torch.float32
    assert own.deviation.flatten().tolist() == pytest.approx([300, 300], rel=0.1)
    assert with_style(features, own, style(0, 1)).dtype == torch.float16


def test_styles_mix():
    mixed = style(1, 2).mixed(style(5, 4), torch.tensor([[0.25]]))
    assert (mixed.mean.item(), mixed.deviation.item()) == (4.0, 3.5)
    either = style(1, 2).mixed(style(5, 4), torch.tensor([[False]]))
    assert (either.mean.item(), either.deviation.item()) == (5, 4)
