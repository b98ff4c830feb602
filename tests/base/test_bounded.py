"""Bounded logits."""

from __future__ import annotations

import math

import torch
from torch.testing import assert_close

from nnunet_ext.base.bounded import bounded


def test_ordinary_logits_are_what_they_were():
    logits = torch.linspace(-100, 100, 2001)
    assert torch.equal(bounded(logits), logits)


def test_literal_values_beyond():
    expected = [100 + 100 * math.tanh(0.5), -100 - 100 * math.tanh(2.0)]
    assert_close(bounded(torch.tensor([150.0, -300.0])), torch.tensor(expected))
    assert bounded(torch.tensor([1e30, -math.inf])).tolist() == [200, -200]


def test_smooth_and_increasing():
    logits = torch.linspace(50, 400, 3501, dtype=torch.float64, requires_grad=True)
    out = bounded(logits)
    (slope,) = torch.autograd.grad(out.sum(), logits)
    assert (out.diff() > 0).all()
    assert (slope > 0).all()
    assert slope.diff().abs().max() < 1e-3


def test_gradcheck():
    logits = torch.tensor([-250.0, -90, 3, 140], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(bounded, (logits,))


def test_what_nnunet_adds_up_fits_half_precision():
    most = bounded(torch.full((), 1e9)).half()
    total = torch.zeros((), dtype=torch.float16)
    for _ in range(8):
        total += most * torch.tensor(10, dtype=torch.float16)
    assert torch.isfinite(total)
    assert float(most) * 320 < torch.finfo(torch.float16).max
