"""Random monotone maps."""

import numpy as np
import pytest
import torch

from nnunet_ext.methods.domain_randomisation.histogram import RandomHistogram

CHANNEL = torch.randn(500, generator=torch.Generator().manual_seed(0))


def test_by_hand():
    """The quantiles of 0 to 1000 are 5 and 995; beyond them, the outer pieces go on."""
    drawn = RandomHistogram(np.array([0, 0.5, 1]), np.array([0, 0.8, 1]))
    values = torch.arange(1001.0)
    rises, goes_on = (values - 5) / 990 * 1.6, 0.8 + (values - 500) / 990 * 0.4
    mapped = torch.where(values < 500, rises, goes_on)
    expected = (mapped - mapped.mean()) / mapped.std() * values.std() + values.mean()
    torch.testing.assert_close(drawn(values), expected, rtol=1e-5, atol=1e-4)


def test_a_single_bright_voxel_does_not_decide():
    """Between the least and the largest value, the map would be straight where all others are."""
    drawn = RandomHistogram(np.array([0, 0.5, 1]), np.array([0, 0.9, 1]))
    bright = torch.cat([CHANNEL, torch.tensor([1000.0])])
    found = torch.stack([drawn(bright)[:-1], drawn(CHANNEL)])
    assert torch.corrcoef(found)[0, 1] > 0.99
    assert torch.corrcoef(torch.stack([found[0], CHANNEL]))[0, 1] < 0.95


@pytest.mark.parametrize("seed", range(5))
def test_order_mean_and_standard_deviation_stay(seed: int):
    generator = np.random.default_rng(seed)
    rises, falls = RandomHistogram.draw(generator)(CHANNEL), RandomHistogram.draw(generator, 1.0)(CHANNEL)
    assert torch.equal(rises.argsort(), CHANNEL.argsort())
    assert torch.equal(falls.argsort(), CHANNEL.argsort(descending=True))
    for found in (rises, falls):
        assert not torch.allclose(found, CHANNEL, atol=0.01)
        torch.testing.assert_close(found.mean(), CHANNEL.mean(), atol=1e-5, rtol=0)
        torch.testing.assert_close(found.std(), CHANNEL.std(), atol=1e-5, rtol=0)


def test_four_to_eight_nodes_and_some_maps_fall():
    generator = np.random.default_rng(0)
    drawn = [RandomHistogram.draw(generator, 0.1) for _ in range(500)]
    assert {len(each.positions) for each in drawn} == {4, 5, 6, 7, 8}
    assert 25 < sum(each.values[0] == 1 for each in drawn) < 75
    assert not any(RandomHistogram.draw(generator).values[0] for _ in range(100))


def test_equal_intensities_stay():
    found = RandomHistogram.draw(np.random.default_rng(0))(torch.full((5,), 3.0))
    torch.testing.assert_close(found, torch.full((5,), 3.0))
