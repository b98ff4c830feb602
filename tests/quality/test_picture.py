"""The slice, its orientation, colours and size."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from nnunet_ext.evaluation.segmentation_figure import PALETTE
from nnunet_ext.quality.grid import Grid
from nnunet_ext.quality.picture import BUDGET, colour, picture, picture_side

SHAPE = (6, 40, 60)


def pixels(uri: str) -> np.ndarray:
    start = "data:image/png;base64,"
    assert uri.startswith(start)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(start)))).convert("RGB"), int)


def near(found, wanted) -> np.ndarray:
    return np.abs(found - np.asarray(wanted)).max(-1) <= 12


def rgb(label: int) -> list[int]:
    return [int(PALETTE[label - 1][start : start + 2], 16) for start in (1, 3, 5)]


@pytest.fixture
def image():
    array = np.zeros(SHAPE, np.float32)
    array[:, :20] = 100  # the half towards the front
    return array


@pytest.fixture
def labels():
    array = np.zeros(SHAPE, np.uint8)
    array[2, 5:15, 5:15] = 1
    array[4, 5:35, 20:50] = 2
    array[4, 39, 0] = 1
    return array


def test_the_slice_with_most_of_the_focus(image, labels):
    grid = Grid(SHAPE, (3.0, 1.0, 1.0))
    whole, one = (pixels(picture(image, labels, grid, focus=focus, side=60)) for focus in ((), (1,)))
    assert whole.shape == one.shape == (40, 60, 3)
    assert near(one, rgb(1)).sum() == 4 * 10 - 4  # the outline
    assert near(whole, rgb(2)).sum() == 4 * 30 - 4
    assert not near(one, rgb(2)).any()
    # each class counts by its share of its largest slice, not by voxels
    small = labels.copy()
    small[2, 20, 20:23] = 3, 4, 5
    assert near(pixels(picture(image, small, grid, side=60))[20, 20], rgb(3))
    # a class that is not there: as without focus
    assert picture(image, labels, grid, focus=(3,), side=60) == picture(image, labels, grid, side=60)
    assert near(one[1, :], (255, 255, 255)).all()
    assert near(one[39, :], (0, 0, 0)).all()
    assert near(whole[39, 0], rgb(1))
    inside = 0.75 * 255 + 0.25 * np.asarray(rgb(1))
    assert near(one[10, 10], inside)


def test_without_any_class_the_middle_is_shown(image):
    image[3] = 50
    image[:, 0, 0] = 100
    none = pixels(picture(image, np.zeros(SHAPE, np.uint8), Grid(SHAPE, (3.0, 1.0, 1.0)), focus=(1,), side=60))
    assert near(none[10:30, 10:], (127, 127, 127)).all()


def test_sides_of_the_patient(image, labels):
    """The same case in files of other orientations is the same picture, with front up and left on the right."""
    plain = picture(image, labels, Grid(SHAPE, (3.0, 1.0, 1.0), np.diag([1.0, 1, 3, 1])), side=60)
    turned = Grid(SHAPE, (3.0, 1.0, 1.0), np.diag([-1.0, -1, -3, 1]))
    flipped = np.ascontiguousarray(image[::-1, ::-1, ::-1]), np.ascontiguousarray(labels[::-1, ::-1, ::-1])
    assert picture(*flipped, turned, side=60) == plain
    assert near(pixels(plain)[0], (255, 255, 255)).all()


def test_a_slice_along_another_axis_has_the_head_up_and_keeps_proportions():
    image = np.zeros((20, 10, 30), np.float32)
    image[10:] = 100
    grid = Grid(image.shape, (1.0, 5.0, 0.5), np.diag([0.5, 5.0, 1, 1]))
    found = pixels(picture(image, None, grid, side=40))
    assert found.shape == (40, 30, 3)  # 20 mm by 15 mm
    assert near(found[0], (255, 255, 255)).all()
    assert near(found[-1], (0, 0, 0)).all()


def test_a_flat_image_and_a_constant_one():
    flat = Grid((1, 8, 8), (999.0, 1.0, 1.0))
    assert pixels(picture(np.ones((1, 8, 8), np.float32), None, flat, side=16)).shape == (16, 16, 3)
    flat = Grid((1, 8, 8), (0.5, 1.0, 1.0))
    assert pixels(picture(np.ones((1, 8, 8), np.float32), None, flat, side=16)).shape == (16, 16, 3)


def test_two_hundred_cases_fit_a_page():
    """The worst case: noise, which no PNG compresses."""
    assert picture_side(10) == 256
    assert picture_side(100_000) == 64
    side = picture_side(200)
    noise = np.random.default_rng(0).normal(size=(3, side, side)).astype(np.float32)
    labels = (noise > 1).astype(np.uint8)
    uri = picture(noise, labels, Grid(noise.shape, (3.0, 1.0, 1.0)), side=side)
    assert 200 * len(uri) < BUDGET + 200 * 2000


def test_colours_begin_again():
    assert colour(1) == PALETTE[0]
    assert colour(len(PALETTE)) == PALETTE[-1]
    assert colour(len(PALETTE) + 1) == PALETTE[0]
