"""Panels, slices and colours of the figure."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from nnunet_ext.evaluation.segmentation_figure import Case, segmentation_figure, slice_to_show

NAMES = {1: "organ", 2: "wall"}
ORGAN_ON_WHITE = 0.4 + 0.6 * np.asarray((0x56, 0xB4, 0xE9)) / 255


@pytest.fixture
def case():
    image = np.zeros((3, 4, 6))
    image[1] = 1.0
    truth = np.zeros((3, 4, 6), np.uint8)
    truth[1, :2] = 1
    truth[1, 3, 0] = 2
    prediction = np.zeros_like(truth)
    prediction[1, 0, 0] = 1
    boundary = np.linspace(0, 1, 72).reshape(3, 4, 6)
    return Case("case_007", image, truth, prediction, (3.0, 1.0, 0.5), boundary)


def panels(figure, columns):
    return [axes.images[0].get_array() for axes in figure.axes[:columns]]


def test_one_row_of_four_panels_of_the_same_slice(case):
    figure = segmentation_figure([case], NAMES, trainer="BANetTrainer")
    assert [axes.get_title() for axes in figure.axes[:4]] == ["image", "truth", "BANetTrainer", "its boundary map"]
    assert [array.shape for array in panels(figure, 4)] == [(4, 6, 3), (4, 6, 3), (4, 6, 3), (4, 6)]
    np.testing.assert_array_equal(panels(figure, 4)[3], case.boundary[1])
    assert {axes.get_aspect() for axes in figure.axes[:4]} == {2.0}
    assert figure.axes[0].get_ylabel() == "case_007"


def test_labels_are_painted_over_the_image(case):
    image, truth, prediction, _ = panels(segmentation_figure([case], NAMES, trainer="T"), 4)
    np.testing.assert_allclose(image, np.ones((4, 6, 3)))
    np.testing.assert_allclose(truth[:2], np.broadcast_to(ORGAN_ON_WHITE, (2, 6, 3)))
    np.testing.assert_allclose(prediction[0, 0], ORGAN_ON_WHITE)
    np.testing.assert_allclose(prediction[1, 0], np.ones(3))


def test_legend_names_the_classes(case):
    figure = segmentation_figure([case], NAMES, trainer="T")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["organ", "wall"]


@pytest.mark.usefixtures("drawn")
def test_no_boundary_map_no_column(case, tmp_path):
    figure = segmentation_figure([replace(case, boundary=None)] * 2, NAMES, trainer="T")
    assert len(figure.axes) == 6
    figure.savefig(tmp_path / "figure.png", dpi=50)
    drawn = np.abs(imread(tmp_path / "figure.png")[..., :3] - ORGAN_ON_WHITE).max(-1) < 0.01
    assert drawn.sum() > 500


def test_slice_with_most_of_all_classes():
    truth = np.zeros((2, 3, 4), np.uint8)
    truth[:, 1, 0] = 1  # the whole of class 1, and half of what class 2 has at most
    truth[0, 1, 1] = 2
    truth[:, 2, 1] = 2
    assert slice_to_show(truth, 1) == 1
    assert slice_to_show(np.zeros((2, 3, 4)), 1) == 1
