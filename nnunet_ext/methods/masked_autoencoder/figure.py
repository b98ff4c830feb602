"""A patch, what the network sees of it, and what it restores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = ("image", "hidden", "restored")
INCHES = 3.0  # width of a panel


def restored_figure(
    image: NDArray[np.floating],
    hidden: NDArray[np.bool_],
    restored: NDArray[np.floating],
    spacing: Sequence[float],
    title: str,
) -> Figure:
    """Draw the slice in the middle, across the axis of the coarsest spacing, at the same scale of grey values.

    Visible voxels are the image's in all three panels; hidden ones are blue in the second.

    Args:
        image: A patch of one channel, (D, H, W) or (H, W).
        hidden: True where a voxel is hidden.
        restored: What the network says.
        spacing: In mm, in the same order of axes.
        title: Above the panels.
    """
    from matplotlib.figure import Figure

    steps = list(spacing)
    if image.ndim == 3:
        axis = int(np.argmax(steps))
        index = image.shape[axis] // 2
        image, hidden, restored = (np.take(each, index, axis) for each in (image, hidden, restored))
        del steps[axis]
    low, high = np.percentile(image, (0.5, 99.5))
    aspect = steps[0] / steps[1]
    figure = Figure(figsize=(3 * INCHES, INCHES * aspect * image.shape[0] / image.shape[1] + 0.8), layout="constrained")
    panels = image, np.ma.array(image, mask=hidden), np.where(hidden, restored, image)
    for axes, panel, name in zip(figure.subplots(1, 3), panels, TITLES, strict=True):
        axes.set_facecolor("#56B4E9")  # shows where nothing is drawn
        axes.imshow(panel, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=aspect, interpolation="nearest")
        axes.set(xticks=[], yticks=[], title=name)
    figure.suptitle(title)
    return figure
