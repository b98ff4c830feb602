"""Blocks of a patch, by hand."""

from __future__ import annotations

import pytest
import torch

from nnunet_ext.semi_supervised.masked.blocks import Blocks

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("patch", "spacing", "size", "grid", "hidden"),
    [
        ((40, 56, 40), (1.0, 1.0, 1.0), (10, 14, 10), (4, 4, 4), 48),  # 16 mm is capped at a quarter of the patch
        ((24, 40, 48), (2.5, 2.5, 2.5), (6, 6, 6), (4, 7, 8), 168),  # 16 / 2.5 = 6.4; the last of 7 blocks is cut off
        ((12, 64, 64), (5.0, 1.0, 1.0), (3, 16, 16), (4, 4, 4), 48),  # anisotropic: 3 slices of 5 mm
        ((6, 64, 64), (30.0, 1.0, 1.0), (1, 16, 16), (6, 4, 4), 72),  # at least a voxel
        ((64, 40), (1.0, 2.0), (16, 8), (4, 5), 15),  # 2d
    ],
)
def test_sizes(patch, spacing, size, grid, hidden):
    blocks = Blocks.of(patch, spacing, 16)
    assert (blocks.size, blocks.grid, blocks.hidden(0.75)) == (size, grid, hidden)


def test_never_none_and_never_all():
    blocks = Blocks((8, 8), (4, 4))
    assert [blocks.hidden(ratio) for ratio in (0.01, 0.5, 0.99)] == [1, 2, 3]
    assert Blocks((8, 8), (2, 2)).hidden(0.8) == 12  # of 16: rounded down


def test_a_patch_of_one_block_is_refused():
    with pytest.raises(ValueError, match=r"expected a patch of at least two blocks, .*, got \[1, 1\] voxels"):
        Blocks.of((1, 1), (1.0, 1.0), 16)


@pytest.mark.parametrize("channels", [1, 2])
def test_whole_blocks_are_hidden_the_last_are_cut_off(channels):
    blocks = Blocks.of((24, 40, 48), (2.5, 2.5, 2.5), 16)
    hidden = blocks.draw(3, channels, 0.75, CPU, torch.Generator().manual_seed(1))
    assert hidden.shape == (3, channels, 24, 40, 48)
    corners = hidden[:, :, ::6, ::6, ::6]
    assert corners.shape[2:] == (4, 7, 8)
    assert corners.sum((2, 3, 4)).unique().tolist() == [168]
    whole = corners.repeat_interleave(6, 2).repeat_interleave(6, 3).repeat_interleave(6, 4)[..., :24, :40, :48]
    assert torch.equal(hidden, whole)
    flat = hidden.flatten(2).flatten(0, 1)
    assert len(flat.unique(dim=0)) == len(flat)  # each sample, and channel, has its own


def test_the_generator_decides():
    blocks = Blocks((16, 16), (2, 2))
    one, same, other = (blocks.draw(1, 1, 0.5, CPU, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    torch.manual_seed(7)
    first = blocks.draw(1, 1, 0.5, CPU)
    torch.manual_seed(7)
    assert torch.equal(first, blocks.draw(1, 1, 0.5, CPU))


def test_every_block_is_hidden_as_often_as_any_other():
    blocks = Blocks((4, 4), (2, 2))
    often = blocks.draw(4000, 1, 0.5, CPU, torch.Generator().manual_seed(0)).float().mean(0)
    assert float((often - 0.5).abs().max()) < 0.03
