"""What is unusual in an image, measured against the fingerprint of the training images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.quality.grid import Grid
from nnunet_ext.quality.reason import SHOWN, Reason
from nnunet_ext.quality.robust_z import robust_z
from nnunet_ext.quality.wording import amount, few, of_cases, span

OF_SPACING, OF_EXTENT = 0.15, 0.2  # the least spread that counts, of logarithms
OF_RANGE = 0.5  # logarithm of a ratio of ranges of intensity that counts one
ENOUGH = 100  # voxels for a range of intensity
OF_NORMAL = 5.15  # standard deviations between the percentiles 0.5 and 99.5 of normal values
SCALED = 0.5  # what a channel counts whose intensities nnU-Net scales image by image, whatever their unit
USUAL = 2.0  # z-score up to which an intensity is usual
AXES = ("z", "y", "x")  # of nnU-Net's arrays
CT = "CTNormalization"


def image_reasons(
    image: NDArray[Any],
    grid: Grid,
    fingerprint: Mapping[str, Any],
    *,
    foreground: NDArray[np.bool_] | None = None,
    normalization: Sequence[str] = (),
    orientations: Sequence[str] = (),
) -> list[Reason]:
    """Return what is unusual in an image.

    Args:
        image: (C, D, H, W), as read.
        grid: Of the image.
        fingerprint: dataset_fingerprint.json; an entry that is not there is not compared.
        foreground: Where the prediction has a class, (D, H, W); None: intensities are not compared.
        normalization: Scheme of each channel in the plans; intensities of channels other than ``CTNormalization``
            count half, since nnU-Net scales these image by image.
        orientations: Those of the training cases, such as ``LPS``; nnU-Net does not turn images.

    Returns:
        Reasons of the kinds ``constant``, ``spacing``, ``extent``, ``orientation`` and ``intensity``, with a suspicion
        of at least :data:`~nnunet_ext.quality.reason.SHOWN`.
    """
    empty = [number for number, channel in enumerate(image) if channel.min() == channel.max()]
    found = [
        Reason("constant", f"image{_of_channel(number, image)}: {amount(float(image[number].flat[0]))} in all voxels")
        for number in empty
    ]
    found += _geometry(image, grid, fingerprint)
    if grid.orientation is not None and orientations:
        seen = sum(each == grid.orientation for each in orientations)
        text = f"image: its voxels run towards {grid.orientation}, as {of_cases(seen, len(orientations))}"
        found.append(Reason.of_event("orientation", text + few(len(orientations)), seen, len(orientations)))
    pools = fingerprint.get("foreground_intensity_properties_per_channel", {})
    if foreground is not None and foreground.any():
        inside = {number: channel[foreground] for number, channel in enumerate(image) if number not in empty}
        found += _intensity(inside, pools, normalization, image)
    return [reason for reason in found if reason.suspicion >= SHOWN]


def _of_channel(number: int, image: NDArray[Any]) -> str:
    return f", channel {number}" if len(image) > 1 else ""


def _geometry(image: NDArray[Any], grid: Grid, fingerprint: Mapping[str, Any]) -> Iterator[Reason]:
    """Voxel size, and size of the image without its empty margin, which is what the fingerprint describes."""
    spacings = [[float(step) for step in each] for each in fingerprint.get("spacings", ())]
    shapes = fingerprint.get("shapes_after_crop", ())
    if spacings:
        yield _worst("spacing", "voxels of {} mm along {}, training images have {}", grid.spacing, spacings, OF_SPACING)
    if spacings and len(shapes) == len(spacings):
        extent = [size * step for size, step in zip(_inside_margin(image), grid.spacing, strict=True)]
        extents = [
            [int(size) * step for size, step in zip(shape, steps, strict=True)]
            for shape, steps in zip(shapes, spacings, strict=True)
        ]
        yield _worst("extent", "image of {} mm along {}, training images have {}", extent, extents, OF_EXTENT)


def _inside_margin(image: NDArray[Any]) -> list[int]:
    """Voxels (D, H, W) of what nnU-Net leaves when it cuts away the margin of zeros."""
    filled: NDArray[np.bool_] = np.any(image != 0, axis=0)
    lengths = []
    for axis in range(3):
        places = np.flatnonzero(np.any(filled, axis=tuple(other for other in range(3) if other != axis)))
        lengths.append(int(places[-1] - places[0] + 1) if places.size else filled.shape[axis])
    return lengths


def _worst(kind: str, text: str, found: Sequence[float], training: Sequence[Sequence[float]], floor: float) -> Reason:
    """The most unusual of the three axes."""
    axes = list(zip(*training, strict=True))
    scores = [
        robust_z(math.log(value), [math.log(each) for each in values], floor)
        for value, values in zip(found, axes, strict=True)
    ]
    axis = max(range(3), key=scores.__getitem__)
    words = text.format(amount(found[axis]), AXES[axis], span(axes[axis], "mm"))
    return Reason.of_distance(kind, words + few(len(training)), scores[axis])


def _intensity(
    inside: Mapping[int, NDArray[Any]], pools: Mapping[str, Any], normalization: Sequence[str], image: NDArray[Any]
) -> Iterator[Reason]:
    medians = {number: float(np.median(values)) for number, values in inside.items()}
    known = {number: pools[str(number)] for number in medians if _is_usable(pools.get(str(number)))}
    apart = {number: _distance(medians[number], pool) for number, pool in known.items()}
    for number, pool in known.items():
        weight = 1.0 if number >= len(normalization) or normalization[number] == CT else SCALED
        usual = f"{amount(pool['percentile_00_5'])} to {amount(pool['percentile_99_5'])}"
        where = f"image{_of_channel(number, image)}: inside the predicted classes, "
        text = f"{where}the median is {amount(medians[number])}, training images have {usual}"
        text += _exchanged(number, medians, known, apart)
        yield Reason.of_distance("intensity", text, weight * apart[number])
        if len(inside[number]) >= ENOUGH:
            low, high = np.percentile(inside[number], (0.5, 99.5))
            ratio = max(float(high - low), 1e-9) / (pool["percentile_99_5"] - pool["percentile_00_5"])
            text = f"{where}intensities go from {amount(low)} to {amount(high)}, in training images from {usual}"
            yield Reason.of_distance("intensity", text, weight * abs(math.log(ratio)) / OF_RANGE)


def _is_usable(pool: Mapping[str, float] | None) -> bool:
    needed = ("median", "percentile_00_5", "percentile_99_5")
    if pool is None or not all(name in pool for name in needed):
        return False
    return bool(pool["percentile_99_5"] > pool["percentile_00_5"])


def _distance(median: float, pool: Mapping[str, float]) -> float:
    """In standard deviations of the training images' voxels, by their percentiles."""
    return abs(median - pool["median"]) / ((pool["percentile_99_5"] - pool["percentile_00_5"]) / OF_NORMAL)


def _exchanged(
    number: int,
    medians: Mapping[int, float],
    pools: Mapping[int, Mapping[str, float]],
    apart: Mapping[int, float],
) -> str:
    """Say with which channel this one may be exchanged: each would be usual as the other."""
    for other in pools:
        both = (_distance(medians[number], pools[other]), _distance(medians[other], pools[number]))
        if other != number and max(both) < USUAL < min(apart[number], apart[other]):
            return f"; channels {number} and {other} may be exchanged"
    return ""
