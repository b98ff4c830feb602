"""Random monotone maps."""

import numpy as np
import pytest
import torch

from nnunet_ext.methods.domain_randomisation.histogram import RandomHistogram

CHANNEL = torch.randn(500, generator=torch.Generator().manual_seed(0))


def test_by_hand():
    drawn = RandomHistogram(np.array([0, 0.5, 1]), np.array([0, 0.8, 1]))
    mapped = torch.tensor([0.0, 0.4, 0.8, 1.0])  # of 0, .25, .5, 1
    values = torch.tensor([1.0, 2.0, 3.0, 5.0])
    expected = (mapped - mapped.mean()) / mapped.std() * values.std() + values.mean()
    torch.testing.assert_close(drawn(values), expected)


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
