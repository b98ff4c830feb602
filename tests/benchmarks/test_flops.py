"""FLOPs of resampling by hand; the benchmarks' folder is no package."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from torch.nn import functional

flops = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "flops.py"))["flops"]


def test_grid_sampling():
    """2 samples, 3 channels, 5 points: 8 corners, a product and a sum; backward: the image, and x, y and z."""
    image = torch.randn(2, 3, 4, 4, 4, requires_grad=True)
    grid = torch.rand(2, 1, 1, 5, 3, requires_grad=True)
    values = 2 * 3 * 5
    assert flops(lambda: functional.grid_sample(image, grid, align_corners=False)) == 16 * values
    both = flops(lambda: functional.grid_sample(image, grid, align_corners=False).sum().backward())
    assert both == 16 * values * (1 + 1 + 3)
    alone = flops(lambda: functional.grid_sample(image, grid.detach(), align_corners=False).sum().backward())
    assert alone == 16 * values * (1 + 1)
    flat = flops(lambda: functional.grid_sample(image[..., 0], torch.rand(2, 1, 5, 2), align_corners=False))
    assert flat == 8 * values


@pytest.mark.parametrize(("mode", "axes"), [("trilinear", 3), ("bilinear", 2)])
def test_resizing(mode: str, axes: int):
    image = torch.randn(1, 2, *[4] * axes, requires_grad=True)
    values = 2 * 8**axes

    def step() -> None:
        functional.interpolate(image, scale_factor=2, mode=mode, align_corners=True).sum().backward()

    assert flops(step) == 2 * 2 * 2**axes * values


def test_convolutions_count_as_torch_counts_them():
    image, kernel = torch.randn(1, 2, 4, 4, 4), torch.randn(3, 2, 1, 1, 1)
    assert flops(lambda: functional.conv3d(image, kernel)) == 2 * 2 * 3 * 4**3
