"""One slice of a case as a small picture: the image in grey, the classes in colour."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nnunet_ext.evaluation.segmentation_figure import PALETTE
from nnunet_ext.quality.grid import Grid

BUDGET = 14_000_000  # bytes of all pictures of a page
LARGEST, SMALLEST = 256, 64  # pixels along the longer side
COLOURS = 128  # of a picture: a byte for a pixel
OPACITY = 0.25  # of a class inside its outline
BASE64 = 4 / 3


def picture_side(cases: int) -> int:
    """Return the pixels along the longer side that keep all pictures of a page within 14 MB."""
    fitting = int(math.sqrt(BUDGET / BASE64 / max(cases, 1)))
    return max(SMALLEST, min(LARGEST, fitting))


def picture(
    image: NDArray[Any], labels: NDArray[Any] | None, grid: Grid, *, focus: Sequence[int] = (), side: int = LARGEST
) -> str:
    """Draw the most telling slice, with head or front up and the patient's left on the right.

    It is cut across the axis of the coarsest spacing, where the classes in ``focus`` have most voxels; if they have
    none, where all classes have.

    Args:
        image: One channel (D, H, W).
        labels: Label map (D, H, W); None: only the image.
        grid: Of both.
        focus: Labels.
        side: Pixels along the longer side.

    Returns:
        A PNG of 128 colours as a data URI, which needs no other file.
    """
    spacing = grid.canonical_spacing()
    # a 2d image has one slice, whatever its spacing says
    axis = 0 if grid.is_flat else int(np.argmax(spacing))
    turned = grid.canonical(image)
    mapped = None if labels is None else grid.canonical(labels)
    index = turned.shape[axis] // 2 if mapped is None else _most_telling(mapped, axis, focus)
    rows, columns = (step for other, step in enumerate(spacing) if other != axis)
    # rows that run towards the head
    upright = slice(None, None, -1 if axis != 0 and grid.affine is not None else None)
    grey = _grey(turned, np.take(turned, index, axis)[upright])
    size = _size(grey.shape, rows, columns, side)
    painted = np.repeat(np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR))[..., None], 3, -1)
    if mapped is not None:
        cut = np.take(mapped, index, axis)[upright].astype(np.int32)
        painted = _painted(painted, np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.NEAREST)))
    stream = io.BytesIO()
    Image.fromarray(painted).quantize(COLOURS).save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def colour(label: int) -> str:
    """Return the colour of a label, such as ``#56B4E9``."""
    return PALETTE[(label - 1) % len(PALETTE)]


def _most_telling(labels: NDArray[Any], axis: int, focus: Sequence[int]) -> int:
    """The slice in which the classes have most voxels, each by its share of its largest slice."""
    number = int(labels.max()) + 1
    slices = np.moveaxis(labels, axis, 0)
    counts = np.stack([np.bincount(each.ravel(), minlength=number) for each in slices]).astype(float)
    counts[:, 0] = 0
    chosen = counts[:, [label for label in focus if label < number]]
    counts = chosen if chosen.any() else counts
    return int(np.argmax((counts / np.maximum(counts.max(0), 1)).sum(1))) if counts.any() else len(slices) // 2


def _grey(image: NDArray[Any], cut: NDArray[Any]) -> NDArray[np.uint8]:
    thinned = image[tuple(slice(None, None, max(1, length // 128)) for length in image.shape)]
    low, high = np.percentile(thinned, (1, 99.5))
    scaled: NDArray[np.uint8] = (255 * np.clip((cut - low) / max(float(high - low), 1e-8), 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(scaled)


def _size(shape: Sequence[int], rows: float, columns: float, side: int) -> tuple[int, int]:
    """Width and height in pixels, in proportion to mm."""
    height, width = shape[0] * rows, shape[1] * columns
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _painted(grey: NDArray[np.uint8], labels: NDArray[Any]) -> NDArray[np.uint8]:
    painted = grey.astype(float)
    for label in np.unique(labels[labels > 0]):
        mask = labels == label
        paint = np.array([int(colour(int(label))[start : start + 2], 16) for start in (1, 3, 5)], float)
        inner = np.pad(mask, 1, mode="edge")
        inside = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
        painted[mask] = (1 - OPACITY) * painted[mask] + OPACITY * paint
        painted[mask & ~inside] = paint
    return painted.astype(np.uint8)
