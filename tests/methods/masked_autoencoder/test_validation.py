"""The comparison with blurring, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_ext.methods.masked_autoencoder.validation import Restoration, squared_errors
from nnunet_ext.semi_supervised.masked.hidden_patch import HiddenPatch


def test_sums_of_squared_errors():
    images = torch.tensor([[[1.0, 2, 3, 4]], [[0, 0, 0, 2]]])
    hidden = torch.tensor([[[False, False, True, True]], [[False, False, False, True]]])
    patch = HiddenPatch(images, hidden, torch.ones_like(hidden))
    found = squared_errors(patch, [torch.zeros(2, 1, 4), torch.ones(2, 1, 4)])
    assert found.tolist() == [[25, 13, 2], [4, 1, 1]]


def test_the_best_gaussian_and_the_verdict():
    sums = np.array([30.0, 100, 70, 40, 50, 90, 100])
    found = Restoration.of(sums)
    assert (found.network, found.constant, found.blurring) == (0.3, 1.0, 0.4)
    assert found.share == pytest.approx(0.7)
    assert found.line().endswith("has learnt more than blurring: yes")
    assert found.as_json()["gaussians"]["Gaussian of 0.25 blocks"] == 0.4
    sums[0] = 40
    assert not Restoration.of(sums).learnt_more_than_blurring
    assert Restoration.of(sums).line().endswith("blurring: no")


def test_nothing_hidden_is_no_error():
    found = Restoration.of(np.zeros(7))
    assert (found.network, found.share) == (0, 0)
