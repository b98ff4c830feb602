"""Probabilities against the label map beside them."""

import numpy as np
import pytest

from nnunet_ext.labels.probabilities import are_of_labels

LABELS = np.random.default_rng(0).integers(0, 3, (4, 5, 6))
ONE_HOT = np.stack([label == LABELS for label in range(3)]).astype(np.float32)
PLAIN = {"labels": {"background": 0, "tumour": 2, "organ": 1, "ignore": 3}}
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
NESTED = np.stack([LABELS > 0, LABELS == 2]).astype(np.float32)


@pytest.mark.parametrize(("description", "own"), [(PLAIN, ONE_HOT), (REGIONS, NESTED)], ids=["labels", "regions"])
def test_whose_they_are(description, own):
    assert are_of_labels(own, LABELS, description)
    assert not are_of_labels(own[:, ::-1], LABELS, description)
    assert not are_of_labels(own[:-1], LABELS, description)
    assert not are_of_labels(own[:, :3], LABELS, description)


def test_a_tie_may_differ():
    tie = ONE_HOT.copy()
    place = tuple(np.argwhere(LABELS == 1)[0])
    tie[(slice(None), *place)] = [0.5, 0.5, 0]
    few, many = np.concatenate([LABELS] * 3), np.concatenate([tie, ONE_HOT, ONE_HOT], 1)
    assert are_of_labels(many, few, PLAIN)
    assert not are_of_labels(ONE_HOT[[0, 2, 1]], LABELS, PLAIN)
