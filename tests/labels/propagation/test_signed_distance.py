"""Signed distances: values by hand, also at the border of the array."""

import numpy as np
import pytest

from nnunet_ext.labels.propagation.signed_distance import signed_distance


def mask(size: int, *places: int) -> np.ndarray:
    found = np.zeros(size, bool)
    found[list(places)] = True
    return found


def test_by_hand():
    assert signed_distance(mask(10, 2, 3, 4, 5), (1,)).tolist() == [-2, -1, 1, 2, 2, 1, -1, -2, -3, -4]


def test_in_mm():
    found = signed_distance(mask(4, 1).reshape(2, 2), (3.0, 0.5))
    assert found.tolist() == [[-0.5, 0.5], [pytest.approx(-np.hypot(3, 0.5)), -3]]


def test_outside_of_the_array_is_background():
    assert signed_distance(mask(4, 0, 1, 2, 3), (1,)).tolist() == [1, 2, 2, 1]
    assert signed_distance(mask(5, 0, 1, 2), (1,)).tolist() == [1, 2, 1, -1, -2]


def test_an_empty_mask_has_none():
    with pytest.raises(ValueError, match="expected a mask with foreground"):
        signed_distance(mask(5), (1,))
