"""CutMix of labelled images with each other, and of unlabelled images with labelled ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nnunet_ext.semi_supervised.random_box import random_box

WARM_UP_BOX = 2 / 3  # side of the box, as a share of the patch's
BOX = (0.3, 0.6)  # after the warm-up it is drawn from this range


@dataclass(frozen=True)
class Mixes:
    """Which samples are mixed, and how: P pairs of labelled samples, then F unlabelled frames with a labelled box.

    Args:
        outside: Number of the labelled sample around the box, of each pair.
        inside: Number of the labelled sample in the box, of each pair.
        framed: Number of the labelled sample in the box, of each frame.
        boxes: (P + F, 1, D, H, W), true in the box.
    """

    outside: tuple[int, ...]
    inside: tuple[int, ...]
    framed: tuple[int, ...]
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def to(self, device: torch.device) -> Mixes:
        """Return the same with its boxes on a device."""
        return replace(self, boxes=self.boxes.to(device))

    def images(self, labelled: Tensor, unlabelled: Tensor | None) -> Tensor:
        """Return the mixed images (P + F, C, D, H, W).

        Args:
            labelled: (B, C, D, H, W).
            unlabelled: (F, C, D, H, W); None if there is no frame.
        """
        around = labelled[list(self.outside)]
        if unlabelled is not None:
            around = torch.cat((around, unlabelled))
        return torch.where(self.boxes, self.boxed(labelled), around)

    def maps(self, labelled: Tensor, around: float) -> Tensor:
        """Return the maps (P + F, C, D, H, W) of labelled samples mixed alike; ``around`` fills unlabelled frames.

        Args:
            labelled: (B, C, D, H, W).
            around: What an unlabelled frame has outside of its box.
        """
        frames = labelled.new_full((len(self.framed), *labelled.shape[1:]), around)
        return torch.where(self.boxes, self.boxed(labelled), torch.cat((labelled[list(self.outside)], frames)))

    def boxed(self, labelled: Tensor) -> Tensor:
        """Return, for each mixed sample, the labelled one that is in its box."""
        return labelled[[*self.inside, *self.framed]]


def draw_mixes(
    shape: Sequence[int],
    tasks: Sequence[int],
    framed: Sequence[int],
    generator: np.random.Generator,
    *,
    pairs: bool = True,
    within: bool = False,
    warms_up: bool = False,
) -> Mixes:
    """Draw half as many pairs as there are labelled samples, each in one pair at most, and a box for each mix.

    Args:
        shape: Of the patch.
        tasks: Task of each labelled sample.
        framed: Number of the labelled sample for each unlabelled frame.
        generator: Source of the random numbers.
        pairs: Whether labelled samples are mixed.
        within: Only samples of one task make a pair.
        warms_up: Boxes have the size of the warm-up.
    """
    outside, inside = [], []
    groups = (
        [np.flatnonzero(np.asarray(tasks) == task) for task in np.unique(tasks)] if within else [np.arange(len(tasks))]
    )
    for group in groups if pairs else ():
        order, half = generator.permutation(group).tolist(), len(group) // 2
        outside += order[:half]
        inside += order[half : 2 * half]
    boxes = []
    for _ in range(len(outside) + len(framed)):
        share = WARM_UP_BOX if warms_up else generator.uniform(*BOX)
        boxes.append(random_box(shape, share, generator))
    stacked = torch.cat(boxes) if boxes else torch.zeros(0, 1, *shape, dtype=torch.bool)
    return Mixes(tuple(outside), tuple(inside), tuple(map(int, framed)), stacked)
