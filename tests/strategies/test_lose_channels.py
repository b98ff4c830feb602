"""Which channels a sample loses."""

from __future__ import annotations

import numpy as np
import torch

from nnunet_ext.strategies.lose_channels import LoseChannels


def test_how_often_and_never_all() -> None:
    generator = np.random.default_rng(0)
    lost = np.array([LoseChannels(0.3, 2).lost(generator) for _ in range(4000)])
    assert not lost.all(1).any()
    assert np.abs(lost.mean(0) - (0.3 - 0.3**2 / 2)).max() < 0.02
    always = np.array([LoseChannels(0.999999, 3).lost(generator) for _ in range(300)])
    assert (always.sum(1) == 2).all()
    assert not always.all(0).any()  # any of them may be the one that is kept


def test_channels_of_a_previous_stage_are_kept() -> None:
    np.random.seed(0)
    transform = LoseChannels(0.5, 2)
    images = [transform(image=torch.ones(4, 3, 3))["image"] for _ in range(50)]
    assert {tuple(image.amax((1, 2)).tolist()) for image in images} == {(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 1, 1)}
    assert all(torch.equal(image.amax((1, 2)), image.amin((1, 2))) for image in images)


def test_samples_of_a_batch_lose_their_own() -> None:
    batch = torch.ones(64, 2, 3, 3)
    LoseChannels(0.5, 2).lose(batch, np.random.default_rng(0))
    assert len(batch.amax((2, 3)).unique(dim=0)) == 3
