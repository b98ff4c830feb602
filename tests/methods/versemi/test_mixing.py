"""Boxes and mixes, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_ext.methods.versemi.mixing import Mixes, draw_mixes


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_mix_is_one_image_outside_and_the_other_inside_and_maps_alike():
    box = torch.zeros(2, 1, 2, 2, 2, dtype=torch.bool)
    box[0, 0, 0], box[1, 0, :, 0] = True, True
    mixes = Mixes((0,), (1,), (2,), box)
    labelled = torch.arange(3.0).view(3, 1, 1, 1, 1).expand(3, 1, 2, 2, 2)  # sample n is n everywhere
    images = mixes.images(labelled, torch.full((1, 1, 2, 2, 2), 9.0))
    assert images[0, 0].tolist() == [[[1, 1], [1, 1]], [[0, 0], [0, 0]]]
    assert images[1, 0].tolist() == [[[2, 2], [9, 9]], [[2, 2], [9, 9]]]
    assert torch.equal(mixes.maps(labelled, 9), images)


def test_a_box_of_side_zero_returns_the_outer_image():
    mixes = Mixes((0,), (1,), (), torch.zeros(1, 1, 2, 2, 2, dtype=torch.bool))
    labelled = torch.randn(2, 3, 2, 2, 2)
    assert torch.equal(mixes.images(labelled, None), labelled[:1])


def test_boxes_of_the_warm_up_have_two_thirds_of_each_axis_of_the_patch():
    mixes = draw_mixes((96, 48, 40), [0, 1], [], rng(), warms_up=True)
    (box,) = mixes.boxes
    extent = [int(box[0].flatten(1).any(1).sum())] + [int(box[0].any(0).any(1 - axis).sum()) for axis in (0, 1)]
    assert extent == [64, 32, 26]
    assert box.sum() == 64 * 32 * 26


def test_later_boxes_are_drawn_for_each_sample_between_three_and_six_tenths():
    sides = [round(int(box.sum()) ** (1 / 3)) for box in draw_mixes((30, 30, 30), [0] * 20, range(20), rng()).boxes]
    assert set(sides) <= set(range(9, 19))
    assert len(set(sides)) > 5


def test_boxes_reach_both_borders():
    boxes = torch.cat([draw_mixes((3, 3, 3), [0, 1], [], rng(seed), warms_up=True).boxes for seed in range(30)])
    assert boxes[:, 0, 0].any()
    assert boxes[:, 0, -1].any()


def test_each_sample_is_in_one_pair_at_most_and_half_of_them_are_pairs():
    mixes = draw_mixes((4, 4, 4), [0, 0, 1, 2, 2], [], rng())
    assert len(mixes.outside) == len(mixes.inside) == 2
    assert len({*mixes.outside, *mixes.inside}) == 4


def test_pairs_within_a_member_have_one_task():
    tasks = [0, 0, 0, 1, 2, 2]
    for seed in range(5):
        mixes = draw_mixes((4, 4, 4), tasks, [], rng(seed), within=True)
        assert [tasks[sample] for sample in mixes.outside] == [tasks[sample] for sample in mixes.inside] == [0, 2]


@pytest.mark.parametrize("framed", [[], [0, 2]])
def test_without_pairs_only_frames_have_a_box(framed):
    mixes = draw_mixes((4, 4, 4), [0, 1, 1], framed, rng(), pairs=False)
    assert (mixes.outside, mixes.inside, mixes.framed) == ((), (), tuple(framed))
    assert mixes.boxes.shape == (len(framed), 1, 4, 4, 4)
