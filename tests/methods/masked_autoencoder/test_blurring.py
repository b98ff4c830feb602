"""Normalized Gaussians, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from nnunet_ext.methods.masked_autoencoder.blurring import SHARES, blurred, gaussian
from nnunet_ext.semi_supervised.masked.hidden_patch import HiddenPatch


def test_the_kernel():
    line = torch.zeros(1, 1, 41)
    line[..., 20] = 1
    found = gaussian(line, [2.0]).flatten()
    assert float(found.sum()) == pytest.approx(1)
    assert float(found[22] / found[20]) == pytest.approx(math.exp(-0.5))
    assert float(found[20 + 9]) == 0  # cut off at four standard deviations


def test_each_axis_has_its_own_width():
    point = torch.zeros(1, 1, 21, 21)
    point[..., 10, 10] = 1
    found = gaussian(point, [1.0, 2.0])[0, 0]
    assert float(found[11, 10] / found[10, 10]) == pytest.approx(math.exp(-0.5))
    assert float(found[10, 12] / found[10, 10]) == pytest.approx(math.exp(-0.5))


def test_a_hidden_voxel_is_the_weighted_mean_of_those_that_are_seen():
    images = torch.tensor([[[8.0, 99, 2, 4]]])
    hidden, inside = torch.tensor([[[False, True, False, False]]]), torch.ones(1, 1, 4, dtype=torch.bool)
    patch = HiddenPatch(images, hidden, inside)
    guess = blurred(patch, patch.input([True]), [2])[1 + SHARES.index(0.5) - 1]  # a standard deviation of one voxel
    near, far = math.exp(-0.5), math.exp(-2)
    assert float(guess[0, 0, 1]) == pytest.approx((8 * near + 2 * near + 4 * far) / (2 * near + far), rel=1e-5)


def test_no_hidden_voxel_and_no_padding_is_looked_at():
    torch.manual_seed(0)
    images, hidden = torch.randn(1, 2, 12, 12), torch.rand(1, 1, 12, 12) > 0.5
    inside = torch.rand(1, 1, 12, 12) > 0.2
    others = torch.where(hidden | ~inside, torch.randn_like(images), images)
    seen = torch.zeros_like(images)
    first, second = (blurred(HiddenPatch(each, hidden, inside), seen, [4, 4]) for each in (images, others))
    assert all(map(torch.equal, first, second))
    assert len(first) == 4


def test_where_nothing_is_near_it_guesses_the_constant():
    hidden = torch.ones(1, 1, 40, dtype=torch.bool)
    hidden[..., 0] = False
    patch = HiddenPatch(torch.full((1, 1, 40), 5.0), hidden, torch.ones_like(hidden))
    guess = blurred(patch, torch.full((1, 1, 40), -1.0), [2])[3].flatten()  # two voxels wide
    assert guess[3] == 5
    assert guess[30] == -1
