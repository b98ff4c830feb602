"""Bytes of a pass, worked out by hand."""

from __future__ import annotations

from nnunet_ext.collection.prediction.pass_memory import PassMemory


def test_bytes():
    """A patch of 2 x 3 x 4 in 10 x 20 x 30: two folds of 2 x 20 x 30 in 16 bits, three windows of 24 in 32 bits."""
    found = PassMemory.of((10, 20, 30), (5, 6, 7), (2, 3, 4), 2)
    assert found == PassMemory(2 * 2 * 1200 + 3 * 4 * 24, 2 * 6000 + 4 * 210, 2 * 210)


def test_an_image_smaller_than_the_patch_is_padded():
    assert PassMemory.of((1, 2, 30), (1, 2, 30), (8, 16, 4), 1).sums == 2 * 8 * 16 * 30 + 3 * 4 * 8 * 16 * 4


def test_a_large_image_of_many_classes():
    """500 x 512 x 512 voxels: 1 GiB holds 20 heads of a patch of 64 x 160 x 160, where the whole image held 4."""
    found = PassMemory.of((500, 512, 512), (500, 512, 512), (64, 160, 160), 1)
    assert 2**30 // found.sums == 20
    assert 2**30 // (2 * 500 * 512 * 512) == 4
