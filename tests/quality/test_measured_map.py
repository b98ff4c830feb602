"""Measures of label maps, worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nnunet_ext.quality.grid import Grid
from nnunet_ext.quality.measured_map import ClassMeasures, MeasuredMap

FLIPPED = np.diag([-1.0, 1.0, 1.0, 1.0])  # x runs to the patient's right


@pytest.fixture
def labels():
    array = np.zeros((4, 10, 20), np.uint8)
    array[1:3, 2:4, 0:3] = 1  # 12 voxels, on the first voxel of x
    array[3, 4, 3] = 1  # touches the others by a corner: one piece
    array[0, 9, 10] = 1  # another piece
    array[1, 5:7, 15:17] = 3
    return array


def test_measures(labels):
    classes = {"organ": 1, "wall": 2, "spot": 3, "region": (1, 3)}
    found = MeasuredMap.of(labels, Grid(labels.shape, (5.0, 2.0, 1.0)), classes)
    assert (found.orientation, found.unit) == (None, "ml")
    organ = found.classes["organ"]
    assert organ.size == pytest.approx(14 * 0.01)
    assert (organ.pieces, organ.largest) == (2, pytest.approx(13 / 14))
    z, y, x = ((12 * 1.5 + 3) / 14, (12 * 2.5 + 4 + 9) / 14, (12 * 1 + 3 + 10) / 14)
    assert organ.centre == pytest.approx(((z + 0.5) / 4, (y + 0.5) / 10, (x + 0.5) / 20))
    assert organ.touches == (True, True, False, True, True, False)
    assert found.classes["wall"] == ClassMeasures()
    assert found.classes["spot"].touches == (False,) * 6
    region = found.classes["region"]
    assert (region.size, region.pieces) == (pytest.approx(18 * 0.01), 3)
    assert region.touches == organ.touches


def test_axes_are_those_of_the_patient(labels):
    grid = Grid(labels.shape, (5.0, 2.0, 1.0))
    there, turned = (
        MeasuredMap.of(labels, Grid(grid.shape, grid.spacing, affine), {"organ": 1}).classes["organ"]
        for affine in (np.eye(4), FLIPPED)
    )
    assert turned.centre == pytest.approx((*there.centre[:2], 1 - there.centre[2]))
    assert turned.touches == (*there.touches[:4], False, True)


def test_an_axis_of_one_voxel_is_not_touched():
    labels = np.zeros((1, 4, 4), np.uint8)
    labels[0, 1:3, 1:3] = 1
    found = MeasuredMap.of(labels, Grid(labels.shape, (999.0, 5.0, 5.0)), {"organ": 1})
    assert found.unit == "cm²"
    assert found.classes["organ"].size == pytest.approx(1.0)
    assert found.classes["organ"].touches == (False,) * 6


def test_json_keeps_everything(labels):
    found = MeasuredMap.of(labels, Grid(labels.shape, (5.0, 2.0, 1.0), FLIPPED), {"organ": 1, "wall": 2})
    assert found.orientation == "RPS"
    assert MeasuredMap.from_json(json.loads(json.dumps(found.as_json()))) == found
