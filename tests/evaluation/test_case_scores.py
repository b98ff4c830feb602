"""Scores of label maps small enough to count."""

import numpy as np
import pytest

from nnunet_ext.evaluation.case_scores import case_scores
from nnunet_ext.evaluation.mask_metrics import parse_metrics

TRUTH = np.array([[[0, 1, 1, 2, 2, 0, 0, 0]]])
PREDICTION = np.array([[[1, 1, 1, 1, 2, 0, 0, 0]]])
SPACING = (5.0, 5.0, 0.5)


def test_classes():
    scores = case_scores(PREDICTION, TRUTH, SPACING, {"organ": 1, "tumour": 2})
    assert scores["organ"]["dice"] == pytest.approx(4 / 6)
    assert scores["tumour"]["dice"] == pytest.approx(2 / 3)
    # organ: surfaces {0, 3} and {1, 2}, each voxel 0.5 mm from the other's
    assert scores["organ"]["hd95_mm"] == pytest.approx(0.5)
    # tumour: surfaces {4} and {3, 4}: 0, 0.5, 0
    assert scores["tumour"]["hd95_mm"] == pytest.approx(0.45)


def test_region_and_ignored_voxels():
    assert case_scores(PREDICTION, TRUTH, SPACING, {"all": [1, 2]})["all"]["dice"] == pytest.approx(8 / 9)
    ignored = np.where(np.arange(8) == 0, 3, TRUTH)
    assert case_scores(PREDICTION, ignored, SPACING, {"all": [1, 2]}, ignore=3)["all"] == {"dice": 1.0, "hd95_mm": 0.0}


def test_missing_class():
    scores = case_scores(PREDICTION, TRUTH * (TRUTH == 1), SPACING, {"tumour": 2, "cyst": 3})
    assert scores == {"tumour": {"dice": 0.0, "hd95_mm": 3.5}, "cyst": {"dice": None, "hd95_mm": None}}


def test_further_metrics():
    metrics = parse_metrics("nsd@0.5mm,hd95_area")
    classes = {"organ": 1, "tumour": 2, "cyst": 3}
    prediction, truth = (labels.repeat(3, 1) for labels in (PREDICTION, TRUTH * (TRUTH == 1)))
    scores = case_scores(prediction, truth, SPACING, classes, metrics=metrics)
    assert list(scores["organ"]) == ["dice", "hd95_mm", "nsd@0.5mm", "hd95_area"]
    assert scores["organ"]["nsd@0.5mm"] == 1.0  # each end is 0.5 mm from the other's
    diagonal = pytest.approx(np.hypot(10, 3.5))
    assert scores["tumour"] == {"dice": 0.0, "hd95_mm": diagonal, "nsd@0.5mm": 0.0, "hd95_area": diagonal}
    assert scores["cyst"] == dict.fromkeys(scores["organ"])
