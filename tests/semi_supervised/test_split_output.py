"""Labelled samples come first."""

from __future__ import annotations

import torch

from nnunet_ext.semi_supervised.split_output import split_output

OUTPUT = torch.arange(5.0).view(5, 1, 1, 1)
TARGET = torch.zeros(2, 1, 1, 1)


def test_one_scale():
    labelled, unlabelled = split_output(OUTPUT, TARGET)
    assert labelled.flatten().tolist() == [0, 1]
    assert unlabelled.flatten().tolist() == [2, 3, 4]


def test_scales():
    labelled, unlabelled = split_output([OUTPUT, 10 * OUTPUT], [TARGET, TARGET])
    assert [scale.flatten().tolist() for scale in labelled] == [[0, 1], [0, 10]]
    assert [scale.flatten().tolist() for scale in unlabelled] == [[2, 3, 4], [20, 30, 40]]


def test_no_unlabelled_sample():
    labelled, unlabelled = split_output(OUTPUT[:2], TARGET)
    assert len(labelled) == 2
    assert len(unlabelled) == 0
