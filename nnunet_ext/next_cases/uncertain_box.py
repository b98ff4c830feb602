"""Where in an image predictions disagree most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.prediction.trained_model import TrainedModel

Place = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """A box of voxels, counted from 0.

    Args:
        first: Its first voxel (x, y, z).
        last: Its last voxel (x, y, z), which belongs to it.
    """

    first: Place
    last: Place


def uncertain_box(maps: Sequence[NDArray[Any]], size: Sequence[int]) -> Box | None:
    """Return the box of the voxels that differ in the window in which most voxels differ.

    Args:
        maps: Label maps (D, H, W) of one image, by several predictions.
        size: Of the window, in voxels (D, H, W); at most that of the image.

    Returns:
        The box in the order (x, y, z), or None if all label maps are equal.

    Example:
        >>> import numpy as np
        >>> one, other = np.zeros((4, 6, 8)), np.zeros((4, 6, 8))
        >>> other[0, 0, 0] = other[3, 4:, 6:] = 1
        >>> uncertain_box([one, other], (2, 3, 4))
        Box(first=(6, 4, 3), last=(7, 5, 3))
    """
    differ = np.zeros(maps[0].shape, bool)
    for each in maps[1:]:
        differ |= each != maps[0]
    if not differ.any():
        return None
    counts = differ.astype(np.int64)
    for axis, length in enumerate(size):
        sums = np.insert(counts.cumsum(axis), 0, 0, axis)
        counts = _part(sums, axis, slice(length, None)) - _part(sums, axis, slice(None, -length))
    start = np.unravel_index(int(counts.argmax()), counts.shape)
    window = tuple(slice(int(place), int(place) + length) for place, length in zip(start, size, strict=True))
    places = np.argwhere(differ[window]) + np.array(start)
    return Box(_xyz(places.min(0)), _xyz(places.max(0)))


def window_size(model: TrainedModel, shape: Sequence[int], properties: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the size of the model's patch in voxels of an image, but at most half of the image.

    Args:
        model: The model.
        shape: Of the image, (D, H, W).
        properties: What the reader noted of the image; of it, the spacing.

    Returns:
        (D, H, W), at least 1 each; a 2d model's window is one slice.
    """
    configuration, order = model.configuration, model.plans_manager.transpose_forward
    steps = list(configuration.spacing)[-2:]
    patch = [1, *list(configuration.patch_size)[-2:]]
    steps = [float(properties["spacing"][order[0]]), *steps]
    if len(configuration.patch_size) == 3:
        patch, steps = list(configuration.patch_size), list(configuration.spacing)
    size = [1] * 3
    for axis, length, step in zip(order, patch, steps, strict=True):
        voxels = round(length * step / float(properties["spacing"][axis]))
        size[axis] = min(max(voxels, 1), -(-shape[axis] // 2))
    return tuple(size)


def _part(array: NDArray[np.int64], axis: int, part: slice) -> NDArray[np.int64]:
    return array[(*[slice(None)] * axis, part)]


def _xyz(place: NDArray[np.int64]) -> Place:
    z, y, x = map(int, place)
    return x, y, z
