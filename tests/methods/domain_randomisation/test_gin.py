"""Random convolutions: norm, share, seeds, channels and what is outside."""

import numpy as np
import pytest
import torch

from nnunet_ext.methods.domain_randomisation.gin import RandomConvolutions

IMAGE = torch.randn(2, 6, 7, 8, generator=torch.Generator().manual_seed(0))


def drawn(seed: int = 0, channels: int = 2, dimensions: int = 3, share: float | None = None) -> RandomConvolutions:
    found = RandomConvolutions.draw(channels, dimensions, np.random.default_rng(seed))
    return found if share is None else RandomConvolutions(found.layers, share)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_norm_is_kept(seed: int, dimensions: int):
    image = IMAGE if dimensions == 3 else IMAGE[:, 0]
    found = drawn(seed, dimensions=dimensions)(image)
    assert found.shape == image.shape
    assert not torch.allclose(found, image, atol=0.01)
    torch.testing.assert_close(found.norm(), image.norm(), rtol=1e-5, atol=0)
    for mine, before in zip(found, image, strict=True):
        torch.testing.assert_close(mine.norm(), before.norm(), rtol=1e-5, atol=0)


def test_no_share_is_the_identity():
    assert torch.equal(drawn(share=0.0)(IMAGE), IMAGE)


def test_by_hand():
    """Four convolutions of one voxel, x -> 2 (x + 1), in each channel's two: (1, -1) -> 8 + ..., and norm 1 of each."""
    two, ones = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 2, 1, 1), 0.5)
    layers = ((two, torch.zeros(2)), (ones, torch.ones(2)), (ones, torch.zeros(2)), (ones[:1], torch.tensor([-1.0])))
    image = torch.tensor([[[1.0, -1.0]]])
    # 1 -> 2, 2 -> 3, 3 -> 3, 3 -> 2; -1 -> -2 -> -.02 -> .98 -> .98 -> -.02; halves: (1.5, -.51)
    expected = torch.tensor([[[1.5, -0.51]]])
    expected = expected * (2 / (1.5**2 + 0.51**2)) ** 0.5
    torch.testing.assert_close(RandomConvolutions(layers, 0.5)(image), expected)


def test_the_seed_decides():
    assert torch.equal(drawn(3)(IMAGE), drawn(3)(IMAGE))
    generator = np.random.default_rng(3)
    first, second = (RandomConvolutions.draw(2, 3, generator) for _ in range(2))
    assert not torch.allclose(first(IMAGE), second(IMAGE))


def test_kernels_of_one_and_of_three_voxels():
    sizes = {weights.shape[-1] for seed in range(10) for weights, _ in drawn(seed).layers}
    assert sizes == {1, 3}


def test_channels_are_not_mixed():
    other = IMAGE.clone()
    other[0] = torch.randn_like(other[0])
    torch.testing.assert_close(drawn(1)(IMAGE)[1], drawn(1)(other)[1])


def test_what_is_outside_stays():
    image, outside = IMAGE.clone(), torch.zeros(IMAGE.shape, dtype=torch.bool)
    outside[:, 0] = True
    image[outside] = 0
    found = drawn()(image, outside)
    assert (found[outside] == 0).all()
    assert (found[~outside] != 0).all()
    torch.testing.assert_close(found.norm(), image.norm(), rtol=1e-5, atol=0)


def test_an_image_of_zeros_stays_finite():
    zeros = torch.zeros(2, 4, 4, 4)
    assert torch.equal(drawn()(zeros, zeros == 0), zeros)
