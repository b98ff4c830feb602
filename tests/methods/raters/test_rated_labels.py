"""Targets made of the maps of several raters, by hand."""

import pytest
import torch

from nnunet_ext.methods.raters.rated_labels import RatedLabels

# one sample each row; channels: the case's own, then three raters; voxels in a row
MAPS = torch.tensor(
    [
        [[1, 1, 1, 1], [0, 1, 2, 2], [0, 1, 1, 2], [0, 2, 0, 2]],
        [[2, 1, 0, 0], [-2] * 4, [-2] * 4, [-2] * 4],
        [[0, 0, 0, 0], [1, 1, 0, 2], [-2] * 4, [1, 0, 0, 2]],
    ],
    dtype=torch.int16,
).reshape(3, 4, 1, 4)
PRESENT = torch.tensor([[True] * 3, [False] * 3, [True, False, True]])


def test_shares():
    share, first = RatedLabels(3).shares(MAPS, PRESENT)
    assert share.shape == (3, 3, 1, 4)
    torch.testing.assert_close(share[0, :, 0].T[1], torch.tensor([0, 2 / 3, 1 / 3]))
    torch.testing.assert_close(share[0, :, 0].T[2], torch.tensor([1 / 3, 1 / 3, 1 / 3]))
    assert share[1, :, 0].argmax(0).tolist() == [2, 1, 0, 0]  # nobody rated it: its own label
    torch.testing.assert_close(share[2, :, 0].T[1], torch.tensor([0.5, 0.5, 0]))
    assert first[:, 0, 0].tolist() == [[0, 1, 2, 2], [2, 1, 0, 0], [1, 1, 0, 2]]
    torch.testing.assert_close(share.sum(1), torch.ones(3, 1, 4))


def test_a_raters_ignored_voxels_are_left_out_of_the_mean():
    maps = torch.tensor([[0, 0, 0], [3, 1, 3], [1, 2, 3]]).view(1, 3, 1, 3)
    share, first = RatedLabels(3, ignore=3).shares(maps, torch.tensor([[True, True]]))
    assert share[0, :, 0].T.tolist() == [[0, 1, 0], [0, 0.5, 0.5], [0, 0, 0]]
    assert first.flatten().tolist() == [1, 1, 3]


def test_shares_of_regions():
    labels = RatedLabels(3, regions=((1, 2), (2,)))
    share, _ = labels.shares(MAPS[:1], PRESENT[:1])
    torch.testing.assert_close(share[0, :, 0].T, torch.tensor([[0, 0], [1, 1 / 3], [2 / 3, 1 / 3], [1, 1]]))


def test_agreement():
    found = RatedLabels(3).agreed(MAPS, PRESENT)[:, 0, 0].tolist()
    assert found == [[0, 3, 3, 2], [2, 1, 0, 0], [1, 3, 0, 2]]
    assert RatedLabels(3, ignore=3).unknown == RatedLabels(3).unknown == 3


def test_one_rater_only():
    labels = RatedLabels(3)
    assert labels.of_rater(MAPS, PRESENT, 1)[:, 0, 0].tolist() == [[0, 1, 1, 2], [3] * 4, [3] * 4]
    assert labels.of_channel(MAPS, [3, 0, 1])[:, 0, 0].tolist() == [[0, 2, 0, 2], [2, 1, 0, 0], [1, 1, 0, 2]]


@pytest.mark.parametrize(("ignore", "unknown", "channels"), [(None, False, 2), (None, True, 3), (3, False, 3)])
def test_targets(ignore, unknown, channels):
    maps = torch.tensor([0, 1, 2, 3]).view(1, 1, 1, 4)
    assert RatedLabels(3, ignore=ignore).target(maps) is maps
    found = RatedLabels(3, regions=((1, 2), (2,)), ignore=ignore).target(maps, unknown=unknown)
    assert found.dtype == torch.bool
    expected = [[False, True, True, False], [False, False, True, False], [False, False, False, True]]
    assert found[0, :, 0].tolist() == expected[:channels]


def test_names_of_raters_do_not_matter():
    order = [2, 0, 1]
    moved = MAPS[:, [0, *(1 + number for number in order)]]
    labels = RatedLabels(3)
    assert torch.equal(labels.shares(MAPS, PRESENT)[0], labels.shares(moved, PRESENT[:, order])[0])
    assert torch.equal(labels.agreed(MAPS, PRESENT), labels.agreed(moved, PRESENT[:, order]))
