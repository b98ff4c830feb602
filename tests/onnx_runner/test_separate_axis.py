"""The axis of thick slices is the one that nnU-Net finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis

from nnunet_ext.onnx_runner.model_description import Resampling
from nnunet_ext.onnx_runner.separate_axis import separate_axis

STEPS = (0.5, 1.0, 1.7, 5.1)


@pytest.mark.parametrize("forced", [None, False, True])
@pytest.mark.parametrize("threshold", [3, 2.5])
def test_as_nnunet(forced: bool | None, threshold: float) -> None:
    axes = set()
    spacings = list(itertools.product(STEPS, repeat=3))
    for current in spacings:
        for new in (spacings[number] for number in np.random.default_rng(0).integers(0, len(spacings), 8)):
            separate, axis = determine_do_sep_z_and_axis(forced, current, new, threshold)
            found = separate_axis(Resampling(3, 0, forced, threshold), current, new)
            assert found == (axis if separate else None), (current, new)
            axes.add(found)
    assert axes == ({None} if forced is False else {None, 0, 1, 2})
