"""Bounded logits."""

from __future__ import annotations

import math

import pytest
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from torch.testing import assert_close

from nnunet_ext.networks.bounded import LIMIT, bounded

CPU = torch.device("cpu")


def test_ordinary_logits_are_what_they_were():
    logits = torch.linspace(-60, 60, 2001)
    assert torch.equal(bounded(logits), logits)


def test_literal_values_beyond():
    expected = [60 + 50 * math.tanh(0.5), -60 - 50 * math.tanh(2.0)]
    assert_close(bounded(torch.tensor([85.0, -160.0])), torch.tensor(expected))
    assert bounded(torch.tensor([1e30, -math.inf])).tolist() == [110, -110]


def test_smooth_and_increasing():
    logits = torch.linspace(30, 300, 2701, dtype=torch.float64, requires_grad=True)
    out = bounded(logits)
    (slope,) = torch.autograd.grad(out.sum(), logits)
    assert (out.diff() > 0).all()
    assert (slope > 0).all()
    assert slope.diff().abs().max() < 2e-3


def test_gradcheck():
    logits = torch.tensor([-150.0, -50, 3, 90], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(bounded, (logits,))


@pytest.mark.parametrize(("step", "most"), [(0.5, 80), (0.1, 530)])
def test_what_nnunet_adds_up_fits_half_precision(step, most):
    """The largest sum of weights that a voxel can get, over sizes of patch and image."""
    worst = 0.0
    for patch in (16, 24, 32, 48, 64, 96, 128):
        weights = compute_gaussian((patch, 1, 1), dtype=torch.float64, device=CPU).flatten()
        for image in range(patch, 3 * patch):
            total = torch.zeros(image, dtype=torch.float64)
            for start in compute_steps_for_sliding_window((image,), (patch,), step)[0]:
                total[start : start + patch] += weights
            worst = max(worst, 10 * float(total.max()) ** 3)
    assert 0.8 * most < worst < most
    assert worst * LIMIT < torch.finfo(torch.float16).max
