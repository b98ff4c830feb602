"""Intensities are normalized to the bit as nnU-Net's classes do it."""

from __future__ import annotations

import numpy as np
import pytest
from nnunetv2.preprocessing.normalization import default_normalization_schemes as theirs

from nnunet_ext.errors import UserError
from nnunet_ext.onnx_runner.model_description import Normalization
from nnunet_ext.onnx_runner.normalization import SCHEMES, normalize

CT = {"mean": 20.5, "std": 70.25, "percentile_00_5": -120.0, "percentile_99_5": 160.0}
IMAGE = np.random.default_rng(0).normal(60, 90, (9, 20, 17)).astype(np.float32)
INSIDE = np.random.default_rng(1).random(IMAGE.shape) < 0.7


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("image", [IMAGE, np.full_like(IMAGE, 7)], ids=["noise", "constant"])
def test_as_nnunet(scheme: str, masked: bool, image: np.ndarray) -> None:
    image = image.clip(0, 255) if scheme == "RGBTo01Normalization" else image.copy()
    seg = np.where(INSIDE, 0, -1)
    expected = getattr(theirs, scheme)(masked, CT).run(image.copy(), seg)
    normalize(image, INSIDE, Normalization(scheme, masked, CT))
    assert image.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(image, expected)


def test_constants_below_what_is_divided_by() -> None:
    image = IMAGE.copy()
    expected = theirs.CTNormalization(False, CT | {"std": 0.0}).run(image.copy())
    normalize(image, INSIDE, Normalization("CTNormalization", False, CT | {"std": 0.0}))
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("value", [-1, 256])
def test_no_rgb(value: float) -> None:
    image = np.array([[[0, value]]], np.float32)
    with pytest.raises(UserError, match="image: expected values from 0 to 255"):
        normalize(image, image > 0, Normalization("RGBTo01Normalization", False, {}))


def test_all_of_nnunets_classes_are_there() -> None:
    base = theirs.ImageNormalization
    named = {name for name, kind in vars(theirs).items() if isinstance(kind, type) and issubclass(kind, base)}
    assert named - {"ImageNormalization"} == set(SCHEMES)
