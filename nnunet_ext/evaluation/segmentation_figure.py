"""Image, truth and prediction of a few cases side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = ("#56B4E9", "#E69F00", "#CC3311", "#009E73", "#F0E442", "#0072B2", "#CC79A7", "#999999")
OPACITY = 0.6
INCHES = 2.3  # width of a panel


@dataclass(frozen=True)
class Case:
    """One case to draw; all arrays have the same shape (D, H, W).

    Args:
        name: Case identifier.
        image: One channel.
        truth: Label map.
        prediction: Label map.
        spacing: Voxel size in mm, same axis order.
        boundary: Probability of boundary, if the trainer's network gives one.
    """

    name: str
    image: NDArray
    truth: NDArray
    prediction: NDArray
    spacing: Sequence[float]
    boundary: NDArray | None = None


def segmentation_figure(cases: Sequence[Case], names: dict[int, str], *, trainer: str) -> Figure:
    """Draw a row per case: image, truth, prediction and, where there is one, the boundary map.

    All panels of a row show the same slice at the same scale, across the axis of the coarsest spacing, where the truth
    has most of all its classes.

    Args:
        cases: At least one.
        names: Class names by label; their order gives the colours.
        trainer: Title of the prediction.

    Returns:
        A figure with one legend for all label maps.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    with_boundary = any(case.boundary is not None for case in cases)
    titles = ["image", "truth", trainer, *(["its boundary map"] if with_boundary else [])]
    colours = {label: to_rgb(PALETTE[index % len(PALETTE)]) for index, label in enumerate(names)}
    panels = [_panels(case, colours) for case in cases]
    heights = [_aspect(case) * row[0].shape[0] / row[0].shape[1] for case, row in zip(cases, panels, strict=True)]
    width = INCHES * len(titles) + (0.9 if with_boundary else 0)
    figure = Figure(figsize=(width, INCHES * sum(heights) + 0.7), layout="constrained")
    grid = figure.subplots(len(cases), len(titles), squeeze=False, height_ratios=heights)
    for row, (case, images) in enumerate(zip(cases, panels, strict=True)):
        for axes, image in zip(grid[row], images, strict=False):
            axes.imshow(image, cmap="magma", vmin=0, vmax=1, aspect=_aspect(case), interpolation="nearest")
        for axes in grid[row]:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        grid[row][0].set_ylabel(case.name)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    if with_boundary:
        bar = figure.colorbar(ScalarMappable(cmap="magma"), ax=grid[:, -1], shrink=0.6, ticks=[0, 0.5, 1])
        bar.set_label("boundary probability")
    patches = [Patch(color=(*colours[label], 1), label=name) for label, name in names.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    return figure


def slice_to_show(truth: NDArray, axis: int) -> int:
    """Return the slice across ``axis`` with most of all classes: each counts by its share of its largest slice."""
    others = tuple(other for other in range(truth.ndim) if other != axis)
    shares = np.zeros(truth.shape[axis])
    for label in np.unique(truth[truth > 0]):
        area = (truth == label).sum(others)
        shares += area / area.max()
    return int(np.argmax(shares)) if shares.any() else truth.shape[axis] // 2


def _panels(case: Case, colours: dict[int, tuple[float, float, float]]) -> list[NDArray]:
    """Cut the slice out of everything and paint the labels."""
    axis = int(np.argmax(case.spacing))
    index = slice_to_show(case.truth, axis)
    low, high = np.percentile(case.image, (1, 99.5))
    grey = np.clip((np.take(case.image, index, axis) - low) / max(high - low, 1e-8), 0, 1)
    image = np.repeat(grey[..., None], 3, -1)
    panels = [image]
    for labels in (case.truth, case.prediction):
        painted = image.copy()
        for label, colour in colours.items():
            inside = np.take(labels, index, axis) == label
            painted[inside] = (1 - OPACITY) * image[inside] + OPACITY * np.asarray(colour)
        panels.append(painted)
    if case.boundary is not None:
        panels.append(np.take(case.boundary, index, axis))
    return panels


def _aspect(case: Case) -> float:
    rows, columns = (step for axis, step in enumerate(case.spacing) if axis != int(np.argmax(case.spacing)))
    return float(rows / columns)
