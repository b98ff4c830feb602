"""Components by faces, edges and corners, at the image's border and in 2d."""

from __future__ import annotations

import numpy as np

from nnunet_ext.challenges.case_masks import LabelMap
from nnunet_ext.challenges.postprocessing.components import Components, voxel_volume
from nnunet_ext.quality.grid import Grid


def components(values: np.ndarray, *own: int) -> Components | None:
    return Components.of(LabelMap(values, Grid(values.shape, (3.0, 0.5, 2.0))), own)


def test_a_corner_connects() -> None:
    values = np.zeros((4, 4, 4), np.uint8)
    values[0, 0, 0], values[1, 1, 1], values[3, 3, 3] = 1, 2, 1
    found = components(values, 1, 2)
    assert found is not None
    assert found.sizes.tolist() == [2, 1]
    assert components(values, 3) is None


def test_the_largest_first_and_of_equal_ones_the_first_in_the_image() -> None:
    found = components(np.array([[[1, 0, 1, 1, 0, 1, 1]]], np.uint8), 1)
    assert found is not None
    assert found.largest(1).tolist() == [2]
    assert found.largest(2).tolist() == [2, 3]
    assert found.largest(9).tolist() == [2, 3, 1]
    many = components(np.tile(np.array([[[1, 0]]], np.uint8), (1, 1, 200)), 1)
    assert many is not None
    assert many.largest(3).tolist() == [1, 2, 3]


def test_touching_by_a_corner_but_not_two_voxels_away() -> None:
    values = np.zeros((3, 3, 7), np.uint8)
    values[0, 0, 0], values[1, 1, 1], values[1, 1, 3], values[1, 1, 6] = 1, 5, 5, 1
    found = components(values, 1)
    assert found is not None
    assert found.touching(values[found.box] == 5).tolist() == [1]


def test_around() -> None:
    values = np.zeros((1, 3, 6), np.uint8)
    values[0, 0, 1], values[0, 2, 5] = 1, 1
    found = components(values, 1)
    assert found is not None
    _, inside, shell = found.around(1)
    assert inside.tolist() == [[[False, True, False], [False, False, False]]]
    assert shell.tolist() == [[[True, False, True], [True, True, True]]]


def test_volumes_of_voxels() -> None:
    assert voxel_volume(Grid((2, 2, 2), (3.0, 0.5, 2.0))) == 3.0
    assert voxel_volume(Grid((1, 2, 2), (999.0, 0.5, 2.0))) == 1.0
