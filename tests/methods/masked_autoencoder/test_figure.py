"""The figure's slice, its three panels and their shape."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.methods.masked_autoencoder.figure import restored_figure

IMAGE = np.arange(4 * 6 * 10, dtype=np.float32).reshape(4, 6, 10)


def panels(image, hidden, restored, spacing) -> list:
    return [axes.images[0] for axes in restored_figure(image, hidden, restored, spacing, "title").axes]


@pytest.mark.parametrize(
    ("spacing", "chosen", "aspect"),
    [((5, 1, 2), IMAGE[2], 1 / 2), ((1, 3, 2), IMAGE[:, 3], 1 / 2), ((1, 1, 4), IMAGE[..., 5], 1)],
)
def test_the_middle_slice_across_the_coarsest_axis(spacing, chosen, aspect):
    found = panels(IMAGE, IMAGE < 0, IMAGE, spacing)
    assert len(found) == 3
    assert np.array_equal(found[0].get_array(), chosen)
    assert found[0].axes.get_aspect() == aspect


def test_hidden_voxels_alone_are_blank_then_restored():
    image, hidden = IMAGE[0], IMAGE[0] % 3 == 0
    first, second, third = panels(image, hidden, image + 100, (1, 2))
    assert np.array_equal(second.get_array().mask, hidden)
    assert np.array_equal(third.get_array(), np.where(hidden, image + 100, image))
    assert len({each.get_clim() for each in (first, second, third)}) == 1  # one scale of grey values


def test_a_constant_image_has_a_scale():
    low, high = panels(np.ones((4, 4)), np.zeros((4, 4), bool), np.ones((4, 4)), (1, 1))[0].get_clim()
    assert high > low
