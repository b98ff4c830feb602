"""Multi-scale deformable attention in plain PyTorch, 2d and 3d.

[0] Zhu et al., Deformable DETR: deformable transformers for end-to-end object detection, ICLR 2021,
https://arxiv.org/abs/2010.04159 (section 4.1; none of the authors' code is used here)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class DeformableAttention(nn.Module):
    """Each query reads a few points around its reference, in every level [0].

    A head samples ``points`` values per level, at the reference plus an offset that is a linear function of the query,
    and sums them with weights that are linear too (softmax over levels and points). Cost grows linearly with the
    queries.

    Axes: references and offsets are (x, y, z) = (W, H, D), as ``grid_sample`` reads them; offsets are in voxels of the
    level. Positions are computed and sampled in float32 under autocast, trilinear, zeros outside.

    At the start weights are equal and point p of a head lies p voxels from the reference in the head's direction.

    Args:
        channels: Channels of queries, values and output.
        levels: Levels of the values.
        heads: Heads; they share the channels.
        points: Points per head and level.
        dims: Spatial axes, 2 or 3.

    Raises:
        ValueError: ``channels`` cannot be divided by ``heads``.
    """

    def __init__(self, channels: int, *, levels: int, heads: int, points: int, dims: int = 3) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"expected channels that {heads} heads can share, got {channels}; give a multiple")
        self.levels, self.heads, self.points, self.dims = levels, heads, points, dims
        self.offsets = nn.Linear(channels, heads * levels * points * dims)
        self.weights = nn.Linear(channels, heads * levels * points)
        self.values = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, gain: float = 1.0) -> None:
        """Reinitialize; ``gain`` scales the Xavier weights of the value and output projections."""
        for projection in (self.values, self.output):
            nn.init.xavier_normal_(projection.weight, gain)
            nn.init.zeros_(projection.bias)
        for projection in (self.offsets, self.weights):
            nn.init.zeros_(projection.weight)
            nn.init.zeros_(projection.bias)
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)
        grid = head_directions(self.heads, self.dims)[:, None, None] * steps[:, None]
        self.offsets.bias.copy_(grid.expand(-1, self.levels, -1, -1).flatten())

    def forward(self, queries: Tensor, references: Tensor, values: Tensor, sizes: Sequence[Sequence[int]]) -> Tensor:
        """Return what each query reads.

        Args:
            queries: (B, Q, C).
            references: Positions (B or 1, Q, dims) in [0, 1], order (x, y, z); see :func:`token_references`.
            values: Tokens (B, N, C) of all levels, finest first, each in row-major order.
            sizes: Voxels (D, H, W) or (H, W) of each level.

        Returns:
            (B, Q, C).
        """
        shape = *queries.shape[:2], self.heads, self.levels, self.points
        values = self.values(values)
        offsets = self.offsets(queries).view(*shape, self.dims)
        weights = self.weights(queries).view(*shape)
        with torch.autocast(queries.device.type, enabled=False):
            exact = torch.promote_types(values.dtype, torch.float32)
            offsets, weights, references = offsets.to(exact), weights.to(exact), references.to(exact)
            weights = weights.flatten(-2).softmax(-1).view(*shape)
            read = self._sample(values.to(exact), references, offsets, weights, sizes)
        return self.output(read.to(queries.dtype))

    def _sample(
        self, values: Tensor, references: Tensor, offsets: Tensor, weights: Tensor, sizes: Sequence[Sequence[int]]
    ) -> Tensor:
        """Return the weighted sum (B, Q, C) of the sampled values."""
        batch, count = offsets.shape[:2]
        read = values.new_zeros(batch * self.heads, values.shape[2] // self.heads, count)
        of_levels = values.split([math.prod(size) for size in sizes], 1)
        for level, (tokens, size) in enumerate(zip(of_levels, sizes, strict=True)):
            image = tokens.transpose(1, 2).reshape(batch * self.heads, -1, *size)
            axes = zip(offsets[:, :, :, level].unbind(-1), reversed(size), strict=True)
            relative = torch.stack([axis / length for axis, length in axes], -1)  # (B, Q, heads, points, dims)
            places = 2 * (references[:, :, None, None] + relative) - 1
            places = places.transpose(1, 2).flatten(0, 1)
            if self.dims == 3:
                places = places[:, None]  # a grid of one slice
            sampled = functional.grid_sample(image, places, padding_mode="zeros", align_corners=False)
            sampled = sampled.view(batch * self.heads, -1, count, self.points)
            read = read + (sampled * weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
        return read.view(batch, -1, count).transpose(1, 2)


def token_references(
    sizes: Sequence[Sequence[int]], *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the centres of all voxels of all levels, (1, N, dims) in [0, 1], order (x, y, z)."""
    centres = []
    for size in sizes:
        axes = [(torch.arange(length, device=device, dtype=dtype) + 0.5) / length for length in size]
        grids = torch.meshgrid(*axes, indexing="ij")
        centres.append(torch.stack(tuple(reversed(grids)), -1).flatten(0, -2))
    return torch.cat(centres)[None]


def head_directions(heads: int, dims: int) -> Tensor:
    """Return the direction (heads, dims) of each head's first points, 1 along its longest axis, order (x, y, z).

    No two heads share a direction, and from two heads on some point along each axis and some against it. In 3d head h
    of H has (sin t cos t, cos t, sin t) with t = 2 pi h / H, TransDoDNet's formula; four heads, which would never leave
    the plane x = 0, have t + pi / 4, a tetrahedron. In 2d (cos t, sin t). Two heads take opposite diagonals.
    """
    if heads == 2:
        return torch.tensor([[1.0], [-1.0]]).expand(2, dims).clone()
    turn = torch.arange(heads, dtype=torch.float64) * (2 * math.pi / heads)
    if dims == 2:
        directions = torch.stack((turn.cos(), turn.sin()), -1)
    else:
        turn += math.pi / 4 if heads == 4 else 0
        directions = torch.stack((turn.sin() * turn.cos(), turn.cos(), turn.sin()), -1)
    return (directions / directions.abs().amax(-1, keepdim=True)).to(torch.float32)
