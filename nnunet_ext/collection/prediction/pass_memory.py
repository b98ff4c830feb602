"""The memory that several tasks take in one pass over an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

HALF, FLOAT = 2, 4  # bytes of a logit
WINDOWS = 3  # logits of a window that are held: their sum over mirrorings, those of a mirroring, and these mirrored
MAPS = 2  # label maps of a task, of 8 bits: that of this pass, and one that is still being written


@dataclass(frozen=True)
class PassMemory:
    """Bytes of a pass.

    Args:
        sums: For each head, where the sums are kept: those of all folds for a patch's depth, and a window's logits.
        whole: For each head of a task that nnU-Net's own export needs whole, in the computer's memory.
        label_map: For each task, in the computer's memory.
    """

    sums: int
    whole: int
    label_map: int

    @classmethod
    def of(cls, image: Sequence[int], read: Sequence[int], patch: Sequence[int], folds: int) -> PassMemory:
        """Estimate it.

        Args:
            image: D, H, W of the preprocessed image.
            read: D, H, W of the image as it was read.
            patch: D, H, W of the network's patch; a smaller image is padded to it.
            folds: Folds whose logits are averaged.
        """
        _, *plane = map(max, image, patch)
        slab = patch[0] * math.prod(plane)
        return cls(
            folds * HALF * slab + WINDOWS * FLOAT * math.prod(patch),
            HALF * math.prod(image) + FLOAT * math.prod(read),
            MAPS * math.prod(read),
        )
