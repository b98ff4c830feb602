"""Shifts of intensities against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.shifts.intensity import bias_field, gamma, inversion, rician_noise


def test_gamma() -> None:
    np.testing.assert_allclose(gamma(np.float32([0, 0.5, 1, 2]), 2), [0, 0.25, 1, 4])


def test_inversion_turns_the_upper_part_of_the_range() -> None:
    np.testing.assert_allclose(inversion(np.float32([0, 0.25, 1, 1.5]), 1), [1, 0.75, 0, -0.5])
    np.testing.assert_allclose(inversion(np.float32([0, 0.6, 1]), 0.25), [0.25, 0.85, 0.75], rtol=1e-6)


@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 6, 7)])
def test_bias_field_reaches_both_extremes_and_is_a_cubic(shape: tuple[int, ...]) -> None:
    field = bias_field(np.ones(shape, np.float32), 0.4, np.random.default_rng(0))
    assert field.dtype == np.float32
    assert [field.min(), field.max()] == pytest.approx([0.6, 1.4], abs=1e-6)
    np.testing.assert_allclose(np.diff(field, 4, axis=-1), 0, atol=1e-5)  # order 3: fourth differences vanish
    np.testing.assert_allclose(np.diff(np.diff(field, 2, axis=1), 2, axis=2), 0, atol=1e-5)  # of both axes together
    assert np.abs(np.diff(field, 3, axis=-1)).max() > 1e-3


def test_bias_field_of_one_voxel_is_none() -> None:
    assert bias_field(np.full((1, 1, 1), 0.3, np.float32), 0.4, np.random.default_rng(0)).item() == np.float32(0.3)


def test_rician_noise_has_the_moments_of_its_distribution() -> None:
    dark = rician_noise(np.zeros(200_000, np.float32), 0.1, np.random.default_rng(0))
    bright = rician_noise(np.ones(200_000, np.float32), 0.1, np.random.default_rng(0))
    assert dark.min() >= 0
    assert dark.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.01)  # Rayleigh
    assert [bright.mean(), bright.std()] == pytest.approx([1.005, 0.0998], rel=0.01)
