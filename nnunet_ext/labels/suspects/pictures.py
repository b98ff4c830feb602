"""Image, label and prediction side by side, in one slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.labels.suspects.label_pair import LabelPair
from nnunet_ext.quality.grid import Grid
from nnunet_ext.quality.picture import picture

TILES = 3


def side_by_side(image: NDArray[Any], pair: LabelPair, focus: Sequence[int], *, side: int) -> str:
    """Draw the slice in which the classes in ``focus`` have most voxels: the image, the label, the prediction.

    Args:
        image: One channel (D, H, W).
        pair: The label maps.
        focus: Labels.
        side: Pixels along the longer side of the three together.

    Returns:
        A PNG as a data URI.
    """
    # a 2d image is drawn as it lies in the file
    grid = Grid(pair.grid.shape, pair.grid.spacing) if pair.grid.is_flat else pair.grid
    spacing, turned = grid.canonical_spacing(), grid.canonical(image)
    across = 0 if grid.is_flat else int(np.argmax(spacing))  # as the picture is cut
    along = 1 if across == 2 else 2  # the columns of the picture
    nothing = np.zeros(turned.shape, np.int32)
    maps = [nothing, grid.canonical(pair.labels), grid.canonical(pair.prediction)]
    tiled = np.concatenate([turned] * TILES, along)
    affine = None if grid.affine is None else np.diag([*reversed(spacing), 1.0])  # runs as canonical axes do
    return picture(tiled, np.concatenate(maps, along), Grid(tiled.shape, spacing, affine), focus=focus, side=side)
