"""Blurring that a seed repeats."""

from __future__ import annotations

from typing import Any

from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform


def steady_blur(transforms: Any) -> None:
    """Let blurring take one algorithm always; stock takes the faster one, whose rounding differs from run to run.

    Args:
        transforms: nnU-Net's training or validation transforms, changed in place.
    """
    for transform in transforms.transforms:
        inner = getattr(transform, "transform", transform)
        if isinstance(inner, GaussianBlurTransform):
            inner.benchmark = False
