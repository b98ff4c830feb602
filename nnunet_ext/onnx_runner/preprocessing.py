"""nnU-Net's preprocessing of an image: transpose, crop, normalize, resample; and the way back for labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from nnunet_ext.onnx_runner.model_description import ModelDescription
from nnunet_ext.onnx_runner.normalization import normalize
from nnunet_ext.onnx_runner.separate_axis import separate_axis
from nnunet_ext.resampling.array_images import resample_array_images
from nnunet_ext.resampling.array_label_export import ArrayLabelExport


@dataclass(frozen=True)
class Preprocessed:
    """A preprocessed image, and what labels need to find back.

    Args:
        image: (C, D, H, W), float32, axes in the plans' order.
        shape: (D, H, W) of the image before the crop.
        crop: Its part that is not zero.
        spacing: (D, H, W) in mm, of the image as it was.
        grid_spacing: (D, H, W) in mm, of the preprocessed image.
    """

    image: NDArray[np.float32]
    shape: tuple[int, ...]
    crop: tuple[slice, slice, slice]
    spacing: tuple[float, ...]
    grid_spacing: tuple[float, ...]


def preprocess(image: NDArray[np.floating], spacing: Sequence[float], model: ModelDescription) -> Preprocessed:
    """Preprocess an image as nnU-Net does.

    Args:
        image: (C, D, H, W), axes as the reader returns them; it is not changed.
        spacing: Of D, H, W, in mm.
        model: How.

    Raises:
        UserError: The image is not what the model's normalization is for.
    """
    forward = model.transpose_forward
    data = image.astype(np.float32).transpose(0, *(axis + 1 for axis in forward))  # astype copies
    current = tuple(float(spacing[axis]) for axis in forward)
    shape, nonzero = data.shape[1:], nonzero_region(data)
    crop = box_of(nonzero)
    data, inside = data[(slice(None), *crop)], nonzero[crop]
    # slices of a 2d configuration keep their distance
    grid = (*current[: 3 - len(model.spacing)], *map(float, model.spacing))
    sizes = [round(old / new * size) for old, new, size in zip(current, grid, data.shape[1:], strict=True)]
    for channel, how in zip(data, model.normalization, strict=True):
        normalize(channel, inside, how)
    resampling = model.resample_images
    resampled = resample_array_images(
        data,
        sizes,
        order=resampling.order,
        separate_axis=separate_axis(resampling, current, grid),
        order_z=resampling.order_z,
    )
    return Preprocessed(np.ascontiguousarray(resampled), shape, crop, current, grid)


def nonzero_region(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where any channel of (C, D, H, W) is not zero, with holes filled: (D, H, W)."""
    mask = image[0] != 0
    for channel in image[1:]:
        mask |= channel != 0
    return np.asarray(binary_fill_holes(mask))


def box_of(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Return the smallest box with all of a mask (D, H, W); all of it if the mask is empty."""
    found = []
    for axis, length in enumerate(mask.shape):
        places = np.flatnonzero(mask.any(tuple(other for other in range(3) if other != axis)))
        found.append(slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, length))
    first, second, third = found
    return first, second, third


class ImageLabels:
    """The label map of an image, from logits that arrive in slabs.

    Args:
        case: The preprocessed image.
        model: The model.
    """

    def __init__(self, case: Preprocessed, model: ModelDescription) -> None:
        values = {value for label in model.labels.values() for value in (label if isinstance(label, list) else [label])}
        foreground = values - {0, model.ignore_label}
        self._whole = np.zeros(case.shape, np.uint8 if len(foreground) < 255 else np.uint16)
        self._backward = model.transpose_backward
        resampling = model.resample_logits
        self._export = ArrayLabelExport(
            case.image.shape[1:],
            self._whole[case.crop],
            order=resampling.order,
            separate_axis=separate_axis(resampling, case.grid_spacing, case.spacing),
            order_z=resampling.order_z,
            region_labels=model.regions_class_order,
        )

    def add(self, slab: NDArray[np.float16]) -> None:
        """Take the next logits (heads, d, H, W); they may be overwritten after the call."""
        self._export.add(slab)

    def finish(self) -> NDArray[np.integer]:
        """Return the labels (D, H, W), axes as the reader returns them.

        Raises:
            ValueError: Slices are missing.
        """
        self._export.finish()
        return self._whole.transpose(self._backward)
