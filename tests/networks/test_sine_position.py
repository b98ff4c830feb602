"""sine_position: literal values, order of axes and voxels."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from nnunet_ext.networks.sine_position import sine_position


def test_two_voxels_on_one_axis():
    """Centres lie at 1/4 and 3/4 of 2 pi; with 4 channels the second frequency is 10000^(-1/2)."""
    quarter = math.pi / 2
    slow = quarter / 100
    expected = [
        [1, 0, math.sin(slow), math.cos(slow)],
        [-1, 0, math.sin(3 * slow), math.cos(3 * slow)],
    ]
    assert_close(sine_position((2,), 4), torch.tensor(expected), rtol=0, atol=1e-6)


def test_axes_follow_one_another_and_voxels_are_in_row_major_order():
    size = (2, 3, 5)
    position = sine_position(size, 12).view(*size, 12)
    for axis, length in enumerate(size):
        alone = sine_position((length,), 4)
        own = position.movedim(axis, 0)[..., 4 * axis : 4 * axis + 4]
        assert_close(own, alone[:, None, None].expand_as(own))


def test_each_pair_shares_a_frequency():
    waves = sine_position((7, 6), 16)
    assert_close(waves[:, 0::2] ** 2 + waves[:, 1::2] ** 2, torch.ones(42, 8))


@pytest.mark.parametrize(("channels", "used"), [(12, 12), (13, 12), (17, 12), (18, 18), (4, 0)])
def test_channels_that_cannot_be_shared_out_stay_zero(channels, used):
    position = sine_position((4, 5, 6), channels)
    assert position.shape == (120, channels)
    assert position.dtype == torch.float32
    assert not position[:, used:].any()
    assert position[:, :used].abs().sum(0).gt(0).all()


def test_every_voxel_has_its_own_position():
    assert len(sine_position((3, 4, 5), 24).unique(dim=0)) == 60
