"""Rows of segmentation heads by the name of the label or region."""

from __future__ import annotations

import pytest
import torch

from nnunet_ext.weights.heads import fitted_rows
from nnunet_ext.weights.roles import Roles


def rows(theirs, ours, old=(1, 2, 3), fresh=(-1, -2, -3)):
    before = torch.tensor(fresh, dtype=torch.float32)
    found, told = fitted_rows(
        before, torch.tensor(old, dtype=torch.float32), Roles(outputs=theirs), Roles(outputs=ours)
    )
    assert before.tolist() == list(fresh)
    return None if found is None else found.tolist(), told


BACK = "background"


@pytest.mark.parametrize(
    ("theirs", "ours", "expected", "told"),
    [
        ((BACK, "a", "b"), (BACK, "a", "b"), [1, 2, 3], ""),
        ((BACK, "a", "b"), (BACK, "b", "a"), [1, 3, 2], "rows by name: background, b, a"),
        ((BACK, "a", "b"), (BACK, "c", "A"), [1, -2, 2], "rows by name: background, A; new: c; not taken: b"),
        ((BACK, "a", "A"), (BACK, "A", "c"), [1, 3, -3], "rows by name: background, A; new: c; not taken: a"),
        ((BACK, "a", "A"), (BACK, "a", "A"), [1, 2, 3], ""),
        ((BACK, "a", "b"), (BACK, "a", "A"), [1, 2, -3], "rows by name: background, a; new: A; not taken: b"),
        (("w", "t", "e"), ("e", "x", "w"), [3, -2, 1], "rows by name: e, w; new: x; not taken: t"),
        ((BACK, "a", "b"), (BACK, "c", "d"), None, "no label in common with the file"),
        (("a", "b", "c"), ("d", "e", "f"), None, "no region in common with the file"),
        ((BACK, "a", "b"), ("a", "b", "c"), None, "labels (softmax) in the file, regions (sigmoid) here"),
        (("a", "b", "c"), (BACK, "a", "b"), None, "regions (sigmoid) in the file, labels (softmax) here"),
        (None, (BACK, "a", "b"), [1, 2, 3], "labels of the file unknown, rows by position"),
        ((BACK, "a", "b"), None, [1, 2, 3], "labels of the network unknown, rows by position"),
        ((BACK, "a"), (BACK, "a", "b"), [1, 2, 3], "labels of the file unknown, rows by position"),
    ],
)
def test_rows_are_matched_by_name(theirs, ours, expected, told):
    assert rows(theirs, ours) == (expected, told)


def test_fewer_and_more_rows():
    assert rows((BACK, "a", "b"), (BACK, "b"), fresh=(-1, -2))[0] == [1, 3]
    assert rows((BACK, "a", "b"), (BACK, "a", "b", "c"), fresh=(-1, -2, -3, -4))[0] == [1, 2, 3, -4]
    assert rows(("a", "b", "c"), ("a", "b"), fresh=(-1, -2))[0] == [1, 2]


def test_of_unknown_labels_no_other_number_is_taken():
    told = "3 outputs in the file, 2 here, and the labels of the file are unknown"
    assert rows(None, (BACK, "a"), fresh=(-1, -2)) == (None, told)
    told = "3 outputs in the file, 2 here, and the labels of the network are unknown"
    assert rows((BACK, "a", "b"), None, fresh=(-1, -2)) == (None, told)


def test_heads_of_another_width_are_left_to_the_caller():
    roles = Roles(outputs=(BACK, "a"))
    assert fitted_rows(torch.zeros(2, 4, 1, 1), torch.ones(2, 5, 1, 1), roles, roles) == (None, "")
    assert fitted_rows(torch.zeros(2, 4, 1, 1), torch.ones(2), roles, roles) == (None, "")
