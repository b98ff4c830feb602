"""Crop, axes and type of a label map; tests/prediction/test_predictor.py compares whole predictions with nnU-Net's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_ext.prediction.label_map import label_map
from nnunet_ext.prediction.trained_model import TrainedModel


def test_crop_and_axes(write_model):
    """Planned axes 1, 2, 0 of an image of 5 x 3 x 4 voxels: 3 x 4 x 5 there; of these a crop of 2 x 3 x 2."""
    model = TrainedModel.load(write_model(transpose=(1, 2, 0)))
    logits = torch.zeros((4, 2, 3, 2), dtype=torch.half)
    logits[3, 1, 2, 0] = 1
    properties = {
        "spacing": [1.0, 2.0, 1.0],
        "shape_before_cropping": (3, 4, 5),
        "bbox_used_for_cropping": [[1, 3], [0, 3], [2, 4]],
    }
    found = label_map(logits.split(1, dim=1), (2, 3, 2), model, properties)
    assert (found.shape, found.dtype) == ((5, 3, 4), np.uint8)
    assert np.argwhere(found).tolist() == [[2, 2, 2]]  # 3 x 4 x 5 at 2, 2, 2
    assert found.max() == 3


def test_regions_are_painted_in_their_order(write_model):
    labels = {"background": 0, "organ": [1, 2], "tumour": [2], "vessel": [3, 1]}
    model = TrainedModel.load(write_model(labels=labels, order=[7, 2, 9]))
    logits = torch.tensor([[1.0, 1.0, -1.0, -1.0], [-1.0, 1.0, 0.0, -1.0], [-1.0, -1.0, -1.0, 1.0]])
    properties = {
        "spacing": [2.0, 1.0, 1.0],
        "shape_before_cropping": (1, 1, 4),
        "bbox_used_for_cropping": [[0, 1], [0, 1], [0, 4]],
    }
    found = label_map([logits.half().reshape(3, 1, 1, 4)], (1, 1, 4), model, properties)
    assert found.tolist() == [[[7, 2, 0, 9]]]


@pytest.mark.parametrize(("classes", "dtype"), [(254, np.uint8), (255, np.uint16)])
def test_type(write_model, classes, dtype):
    labels = {"background": 0} | {str(number): number for number in range(1, classes + 1)}
    model = TrainedModel.load(write_model(labels=labels))
    logits = torch.zeros((classes + 1, 1, 1, 1))
    logits[-1] = 1
    properties = {
        "spacing": [2.0, 1.0, 1.0],
        "shape_before_cropping": (1, 1, 1),
        "bbox_used_for_cropping": [[0, 1]] * 3,
    }
    found = label_map([logits], (1, 1, 1), model, properties)
    assert found.dtype == dtype
    assert found.item() == classes


def test_missing_slices(write_model):
    model = TrainedModel.load(write_model())
    properties = {
        "spacing": [2.0, 1.0, 1.0],
        "shape_before_cropping": (2, 1, 1),
        "bbox_used_for_cropping": [[0, 2], [0, 1], [0, 1]],
    }
    with pytest.raises(ValueError, match="slice"):
        label_map([torch.zeros((4, 1, 1, 1))], (2, 1, 1), model, properties)
