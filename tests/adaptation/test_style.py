"""The style view: repeatable, each channel for itself, nothing where there is no contrast."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.adaptation import style
from nnunet_ext.adaptation.style import inverted_gamma, style_view

PATCH = np.random.default_rng(0).normal(size=(2, 6, 8, 8)).astype(np.float32)


def test_repeatable_and_of_each_channel() -> None:
    found = style_view(PATCH, np.random.default_rng(1))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, style_view(PATCH, np.random.default_rng(1)))
    assert not np.array_equal(found, style_view(PATCH, np.random.default_rng(2)))
    same = style_view(PATCH[[0, 0]], np.random.default_rng(1))
    assert np.abs(same[0] - same[1]).max() > 0.1


def test_a_channel_of_one_value_stays() -> None:
    patch = np.stack([PATCH[0], np.zeros_like(PATCH[0])])
    assert not style_view(patch, np.random.default_rng(0))[1].any()


def test_an_outside_that_is_masked_stays_zero() -> None:
    patch = PATCH.copy()
    patch[:, :3] = 0
    found = style_view(patch, np.random.default_rng(0), [True, False])
    assert not found[0, :3].any()
    assert found[1, :3].any()
    assert found[0, 3:].all()
    np.testing.assert_array_equal(found[:, 3:], style_view(patch, np.random.default_rng(0))[:, 3:])


def test_each_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the others at their neutral values."""
    for name, ends in {"FACTORS": (1, 1), "EXPONENTS": (1, 1), "VARIANCES": (0, 0), "DEVIATIONS": (0, 0)}.items():
        monkeypatch.setattr(style, name, ends)
    np.testing.assert_allclose(style_view(PATCH, np.random.default_rng(0)), PATCH, atol=1e-5)
    monkeypatch.setattr(style, "VARIANCES", (0.04, 0.04))
    assert (style_view(PATCH, np.random.default_rng(0)) - PATCH).std() == pytest.approx(0.2, rel=0.1)
    monkeypatch.setattr(style, "VARIANCES", (0, 0))
    monkeypatch.setattr(style, "FACTORS", (0.5, 0.5))
    channel = PATCH[0] * 0.5
    expected = (channel - channel.mean()) * 0.5 + channel.mean()
    np.testing.assert_allclose(style_view(PATCH, np.random.default_rng(0))[0], expected, atol=1e-5)
    monkeypatch.setattr(style, "FACTORS", (1.5, 1.5))
    strong = style_view(PATCH, np.random.default_rng(0))[0]
    assert [strong.min(), strong.max()] == pytest.approx([1.5 * PATCH[0].min(), 1.5 * PATCH[0].max()], abs=1e-4)


def test_inverted_gamma() -> None:
    np.testing.assert_allclose(inverted_gamma(np.array([-1.0, 0.0, 1.0]), 2), [-1, 0.5, 1])
    np.testing.assert_allclose(inverted_gamma(np.array([2.0, 2.0]), 2), [2, 2])
