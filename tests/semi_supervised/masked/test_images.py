"""Patches that are the same in each epoch, of all cases."""

from __future__ import annotations

import pytest
import torch

from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.semi_supervised.masked.blocks import Blocks
from nnunet_ext.semi_supervised.masked.images import FixedPatches

CASES = ["a", "b", "c"]


class Loader:
    """One patch of the case that is asked for, of random voxels."""

    batch_size = 2

    def __init__(self) -> None:
        self.indices = list(CASES)

    def __next__(self):
        (case,) = self.indices
        assert self.batch_size == 1
        return {"data": torch.rand(1, 1, 8, 8), "target": torch.full((1, 1, 8, 8), 2), "keys": [case]}


def batches(rank: int = 0, world_size: int = 1) -> list[dict]:
    ranks = Ranks(rank, world_size)
    patches = FixedPatches(Loader(), Blocks((8, 8), (4, 4)), 0.5, 1, steps=3, ranks=ranks)  # type: ignore[arg-type]
    return [next(patches) for _ in range(6)]


def test_each_case_has_a_patch_before_one_has_two():
    found = batches()
    assert [batch["keys"] for batch in found[:3]] == [["a", "b"], ["c", "a"], ["b", "c"]]
    patches = torch.cat([batch["data"] for batch in found[:3]]).flatten(1)
    assert len(patches.unique(dim=0)) == 6  # the second patch of a case is another one
    for first, second in zip(found[:3], found[3:], strict=True):
        assert torch.equal(first["data"], second["data"])
        assert torch.equal(first["hidden"], second["hidden"])
        assert not first["target"].any()  # inside the image, whatever the label


@pytest.mark.parametrize("step", range(3))
def test_ranks_share_the_patches(step: int):
    alone = [case for batch in batches() for case in batch["keys"]]
    first, second = (batches(rank, 2)[step]["keys"] for rank in (0, 1))
    both = [case for pair in zip(first, second, strict=True) for case in pair]
    assert both == (alone * 2)[4 * step : 4 * step + 4]
