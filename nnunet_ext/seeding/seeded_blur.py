"""Blurring that is reproducible with a seed."""

from __future__ import annotations

from typing import Any

from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform


def steady_blur(transforms: Any) -> None:
    """Always use the same blurring algorithm; stock takes the faster one, so that rounding differs from run to run.

    Args:
        transforms: nnU-Net's training or validation transforms, changed in place.
    """
    for transform in transforms.transforms:
        inner = getattr(transform, "transform", transform)
        if isinstance(inner, GaussianBlurTransform):
            inner.benchmark = False
