"""The box's size, and all places it may have."""

from __future__ import annotations

import numpy as np
import torch

from nnunet_ext.semi_supervised.random_box import random_box


def test_two_thirds_of_each_axis_rounded_down():
    box = random_box((112, 112, 80), 2 / 3, np.random.default_rng(0))
    assert box.shape == (1, 1, 112, 112, 80)
    assert [int(box.any(dim=tuple(set(range(5)) - {axis})).sum()) for axis in (2, 3, 4)] == [74, 74, 53]
    assert int(box.sum()) == 74 * 74 * 53


def test_two_axes_and_multiples_of_three():
    assert int(random_box((96, 3), 2 / 3, np.random.default_rng(0)).sum()) == 64 * 2


def test_every_place_the_first_and_the_last_included():
    generator = np.random.default_rng(0)
    starts = {int(random_box((1, 6), 2 / 3, generator)[0, 0, 0].int().argmax()) for _ in range(100)}
    assert starts == {0, 1, 2}


def test_the_generator_decides():
    boxes = [random_box((9, 12, 15), 0.5, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert torch.equal(boxes[0], boxes[1])
    assert not torch.equal(boxes[0], boxes[2])
