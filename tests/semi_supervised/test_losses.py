"""Classes and regions."""

from __future__ import annotations

import math

import torch

from nnunet_ext.semi_supervised.losses import probabilities

LOGITS = torch.tensor([[[[0.0]], [[math.log(3)]]]])


def test_classes():
    torch.testing.assert_close(probabilities(LOGITS, regions=False).flatten(), torch.tensor([0.25, 0.75]))


def test_regions():
    torch.testing.assert_close(probabilities(LOGITS, regions=True).flatten(), torch.tensor([0.5, 0.75]))


def test_half_precision_is_left_before_the_exponential():
    found = probabilities(torch.tensor([[[[12.0]], [[0.0]]]], dtype=torch.float16), regions=False)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[0, 1, 0, 0], torch.tensor(1 / (1 + math.exp(12))))
