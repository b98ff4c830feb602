"""Images are preprocessed as by nnU-Net's preprocessor, to the rounding of resampling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_model import phantom, stock

from nnunet_ext.onnx_runner.model_description import ModelDescription
from nnunet_ext.onnx_runner.preprocessing import box_of, preprocess

SPACINGS = [(1.4, 1.1, 0.9), (2.0, 1.0, 1.0), (7.0, 1.0, 1.1)]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1)])
def test_as_nnunet(
    export: Callable[..., tuple[Path, Path]],
    two_channels: Callable[..., Any],
    spacing: tuple[float, float, float],
    transpose: tuple[int, int, int],
) -> None:
    model, exported = export(transpose=transpose, **two_channels())
    image = np.concatenate([phantom(border=3), phantom(seed=1, border=2)])
    image[:, 6:8, 12:15, 12:15] = 0  # a hole, which belongs to the nonzero region
    given = image.copy()
    theirs = stock(model)
    planned = theirs.configuration_manager
    expected, _, properties = planned.preprocessor_class(verbose=False).run_case_npy(
        image, None, {"spacing": list(spacing)}, theirs.plans_manager, planned, theirs.dataset_json
    )
    found = preprocess(image, spacing, ModelDescription.read(exported))
    np.testing.assert_array_equal(image, given)
    assert found.image.dtype == expected.dtype == np.float32
    assert found.shape == tuple(properties["shape_before_cropping"])
    assert [[end.start, end.stop] for end in found.crop] == properties["bbox_used_for_cropping"]
    assert found.image.shape == expected.shape
    scale = 0 if found.image.shape[1:] == tuple(properties["shape_after_cropping_and_before_resampling"]) else 1
    for one, other in zip(found.image, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=5e-6 * np.ptp(other) * scale)


def test_an_image_of_zeros_is_not_cropped() -> None:
    assert box_of(np.zeros((3, 4, 5), bool)) == (slice(0, 3), slice(0, 4), slice(0, 5))
