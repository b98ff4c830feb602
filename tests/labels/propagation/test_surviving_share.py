"""What resampling leaves of annotated slices: nnU-Net's own function, on the numbers that were measured with it."""

import numpy as np
import pytest
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape

from nnunet_ext.labels.propagation.surviving_share import annotated_share, planned_spacing, surviving_share


@pytest.mark.parametrize(("target", "expected"), [(2.0, 0.0), (4 / 3, 1 / 3), (2 / 3, 1 / 6), (1.0, 0.25)])
def test_every_fourth_of_48_slices(target, expected):
    rng = np.random.default_rng(0)
    labels = np.full((48, 10, 12), 2, np.int16)
    labels[::4] = rng.integers(0, 2, (12, 10, 12))
    spacing, new = (1.0, 1.0, 1.0), (target, 1.0, 1.0)
    assert annotated_share(labels, 2) == 0.25
    found = surviving_share(labels, 2, spacing, new)
    assert found == pytest.approx(expected)
    shape = compute_new_shape(labels.shape, spacing, new)
    resampled = resample_data_or_seg_to_shape(labels[None], shape, spacing, new, True, 1, 0, None)
    assert found == pytest.approx(annotated_share(resampled, 2))


def test_in_plane_resampling_keeps_slices():
    labels = np.full((12, 10, 12), 1, np.int16)
    labels[::4] = 0
    assert surviving_share(labels, 1, (1.0, 1.0, 1.0), (1.0, 2.0, 2.0)) == 0.25


def test_planned_spacing():
    assert planned_spacing([(1, 1, 1), (2, 1, 1), (3, 1, 1)], [(50, 50, 50)] * 3) == (2, 1, 1)
    # thick slices: the tenth percentile of that axis
    assert planned_spacing([(5, 1, 1), (10, 1, 1), (15, 1, 1)], [(20, 200, 200)] * 3) == (6, 1, 1)
