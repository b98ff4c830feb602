"""One map of several: votes, ties, regions, ignored voxels, STAPLE."""

import numpy as np
import pytest

from nnunet_ext.labels.raters.fusion import classes_of, majority, staple

MAPS = [np.array(each)[None, None] for each in ([0, 1, 1, 2], [0, 0, 1, 2], [2, 1, 0, 0])]


def test_most_votes_win_and_the_lowest_label_of_a_tie():
    assert majority(MAPS, 3).flatten().tolist() == [0, 1, 1, 2]
    assert majority([np.array([2, 1]), np.array([1, 0])], 3).tolist() == [1, 0]


def test_regions_are_votes_of_their_own_and_stay_nested():
    maps = [np.array([1, 2, 0]), np.array([2, 2, 0]), np.array([0, 1, 1])]
    assert majority(maps, 3, regions=[[1, 2], [2]], order=[1, 2]).tolist() == [1, 2, 0]
    assert majority(maps, 3).tolist() == [0, 2, 0]  # label by label, the first voxel has three opinions


@pytest.mark.parametrize("fuse", [majority, staple])
@pytest.mark.parametrize("regions", [{}, {"regions": [[1, 2], [2]], "order": [1, 2]}])
def test_ignored_voxels_are_no_votes(fuse, regions):
    maps = [np.array([[[3, 3, 1, 0]]]), np.array([[[3, 1, 1, 0]]])]
    assert fuse(maps, 3, ignore=3, **regions)[0, 0, [0, 2, 3]].tolist() == [3, 1, 0]
    assert majority(maps, 3, ignore=3, **regions)[0, 0].tolist() == [3, 1, 1, 0]


@pytest.mark.parametrize("fuse", [majority, staple])
def test_equal_maps_and_a_single_one_stay(fuse):
    one = np.random.default_rng(0).integers(0, 3, (4, 5, 6))
    assert (fuse([one], 3) == one).all()
    assert (fuse([one] * 3, 3) == one).all()


def test_staple_trusts_the_raters_who_agree():
    """Two raters draw the same ball, a third one nearly nothing; the ball wins, and so does a class nobody else has."""
    place = np.indices((12, 12, 12)) - 5.5
    ball = ((place**2).sum(0) < 16).astype(int)
    noisy = [ball.copy() for _ in range(3)]
    noisy[0][2, 5, 5], noisy[2][ball > 0] = 0, 0
    noisy[2][5, 5, 5] = 2
    found = staple(noisy, 3)
    assert (found[ball > 0] == 1).mean() > 0.98
    assert not found[ball == 0].any()


@pytest.mark.parametrize("regions", [{}, {"regions": [[1, 2], [2]], "order": [1, 2]}])
def test_staple_asks_nobody_who_ignores(regions):
    """Two raters leave half of the image out; there, the third one alone is asked."""
    truth = np.zeros((4, 8, 8), int)
    truth[1:3, 2:6] = 1
    partly = truth.copy()
    partly[:, :, 4:] = 3
    found = staple([partly, truth, partly], 3, ignore=3, **regions)
    assert (found == truth).all()
    other = truth.copy()
    other[1, 2, :4] = 0
    ignored = staple([partly, other, partly], 3, ignore=3, **regions)[:, :, :4]
    assert (ignored == staple([each[:, :, :4] for each in (partly, other, partly)], 3, **regions)).all()


def test_dataset_json():
    labels = {"background": 0, "organ": [1, 2], "tumour": 2, "ignore": 3}
    found = classes_of({"labels": labels, "regions_class_order": [1, 2]})
    assert found == {"labels": 3, "ignore": 3, "regions": [[1, 2], [2]], "order": [1, 2]}
    assert classes_of({"labels": {"background": 0, "a": 1}}) == {"labels": 2, "ignore": None}
