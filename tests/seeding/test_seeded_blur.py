"""With a seed, blurring takes one algorithm: in nnU-Net's chain, in this process and in its workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform

from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer


def blurs(transforms: Any) -> list[GaussianBlurTransform]:
    inner = [getattr(transform, "transform", transform) for transform in transforms.transforms]
    return [transform for transform in inner if isinstance(transform, GaussianBlurTransform)]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("seed", [4, None])
def test_training_loader(half_labelled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, seed, workers):
    monkeypatch.setenv("nnUNet_n_proc_DA", str(workers))
    trainer = half_labelled(NNUNetBaselineTrainer, seed=seed)
    trainer.initialize()
    loaders = trainer.get_dataloaders()
    source = loaders[0].generator if workers else loaders[0].data_loader
    source = getattr(source, "loader", source)  # seeded ones are in a SingleLoader
    assert [blur.benchmark for blur in blurs(source.transforms)] == [seed is None]
    for loader in loaders if workers else ():
        assert loader._processes
        loader._finish()
