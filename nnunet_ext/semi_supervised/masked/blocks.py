"""Which voxels of a patch are hidden: whole blocks, of about the same size in mm along each axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MOST = 4  # a block is at most this part of a patch along each axis


@dataclass(frozen=True)
class Blocks:
    """The blocks of a patch. Those at its end are cut off if the patch is no multiple of them.

    Args:
        patch_size: In voxels, (D, H, W) or (H, W).
        size: Of a block, in voxels.
    """

    patch_size: tuple[int, ...]
    size: tuple[int, ...]

    @classmethod
    def of(cls, patch_size: Sequence[int], spacing: Sequence[float], block_mm: float) -> Blocks:
        """Return blocks with edges of about ``block_mm``, at least a voxel and at most a quarter of the patch.

        Args:
            patch_size: In voxels.
            spacing: In mm, in the same order of axes.
            block_mm: Edge of a block in mm.

        Raises:
            ValueError: The patch has fewer than two blocks.

        Example:
            >>> from nnunet_ext.semi_supervised.masked.blocks import Blocks
            >>> blocks = Blocks.of((40, 56, 40), (1.0, 1.0, 1.0), block_mm=16)
            >>> blocks.size, blocks.grid, blocks.number, blocks.hidden(0.75)
            ((10, 14, 10), (4, 4, 4), 64, 48)
        """
        size = tuple(
            max(1, min(round(block_mm / step), length // MOST))
            for length, step in zip(patch_size, spacing, strict=True)
        )
        blocks = cls(tuple(map(int, patch_size)), size)
        if blocks.number < 2:
            raise ValueError(
                f"expected a patch of at least two blocks, one to hide and one to see, got {list(patch_size)} voxels"
            )
        return blocks

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(math.ceil(length / edge) for length, edge in zip(self.patch_size, self.size, strict=True))

    @property
    def number(self) -> int:
        """Number of blocks of a patch."""
        return math.prod(self.grid)

    def hidden(self, ratio: float) -> int:
        """Return how many blocks are hidden: the share of them, rounded down, never none and never all."""
        return min(max(math.floor(ratio * self.number), 1), self.number - 1)

    def draw(
        self, samples: int, channels: int, ratio: float, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw which voxels are hidden.

        Args:
            samples: B.
            channels: C, each with blocks of its own; 1 for all channels alike.
            ratio: Share of the blocks that are hidden.
            device: Where the random numbers are drawn, and the result is.
            generator: Of that device; None: torch's own.

        Returns:
            (B, C, D, H, W), or (B, C, H, W); True where a voxel is hidden.
        """
        order = torch.rand((samples, channels, self.number), device=device, generator=generator).argsort(-1)
        hidden = torch.zeros_like(order, dtype=torch.bool)
        hidden.scatter_(-1, order[..., : self.hidden(ratio)], True)
        hidden = hidden.reshape(samples, channels, *self.grid)
        for axis, (edge, length) in enumerate(zip(self.size, self.patch_size, strict=True), start=2):
            hidden = hidden.repeat_interleave(edge, axis).narrow(axis, 0, length)
        return hidden
