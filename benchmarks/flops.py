"""FLOPs of a step: convolutions and matrix products as torch counts them, and resampling, which torch leaves out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

CORNERS = {4: 4, 5: 8}  # grid points that bilinear and trilinear interpolation read, by the number of axes


def flops(work: Callable[[], object]) -> int:
    """Return the FLOPs of ``work``, multiplications and additions."""
    with FlopCounterMode(display=False, custom_mapping=RESAMPLING) as counter:
        work()
    return counter.get_total_flops()


def of_resampling(image: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    """Return 2 (a product and a sum) for each grid point that an output value reads."""
    return 2 * CORNERS[len(image)] * math.prod(out_shape)


def of_grid_sample_backward(
    gradient: Sequence[int], image: Sequence[int], *rest: Any, output_mask: Sequence[bool] = (True, True), **_: Any
) -> int:
    """Return the same once for the image's gradient, and once for each coordinate of the grid's."""
    mask = rest[-1] if rest and isinstance(rest[-1], list | tuple) and len(rest[-1]) == 2 else output_mask
    passes = bool(mask[0]) + (len(image) - 2) * bool(mask[1])
    return passes * 2 * CORNERS[len(image)] * math.prod(gradient)


def of_resizing_backward(gradient: Sequence[int], *_: Any, **__: Any) -> int:
    """Return the cost of the forward pass."""
    return 2 * CORNERS[len(gradient)] * math.prod(gradient)


RESAMPLING: dict[Any, Callable[..., int]] = {
    torch.ops.aten.grid_sampler_2d: of_resampling,
    torch.ops.aten.grid_sampler_3d: of_resampling,
    torch.ops.aten.grid_sampler_2d_backward: of_grid_sample_backward,
    torch.ops.aten.grid_sampler_3d_backward: of_grid_sample_backward,
    torch.ops.aten.upsample_bilinear2d: of_resampling,
    torch.ops.aten.upsample_trilinear3d: of_resampling,
    torch.ops.aten.upsample_bilinear2d_backward: of_resizing_backward,
    torch.ops.aten.upsample_trilinear3d_backward: of_resizing_backward,
}
