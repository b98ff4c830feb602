"""nnU-Net's normalizations of intensities, by the names of its classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.errors import UserError
from nnunet_ext.onnx_runner.model_description import Normalization

SMALLEST = 1e-8  # that is divided by
CT_CONSTANTS = ("mean", "std", "percentile_00_5", "percentile_99_5")

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


def normalize(image: Image, inside: Mask, how: Normalization) -> None:
    """Normalize a channel in place.

    Args:
        image: (D, H, W), float32.
        inside: (D, H, W), the nonzero region.
        how: The scheme, one of :data:`SCHEMES`, and its constants.

    Raises:
        UserError: The image is not what the scheme is for.

    Example:
        >>> image = np.array([[[0.0, 51.0, 255.0]]], np.float32)
        >>> normalize(image, image > 0, Normalization("RGBTo01Normalization", False, {}))
        >>> image.tolist()
        [[[0.0, 0.20000000298023224, 1.0]]]
    """
    SCHEMES[how.scheme](image, inside, how)


def _ct(image: Image, inside: Mask, how: Normalization) -> None:
    mean, std, lowest, highest = (how.constants[name] for name in CT_CONSTANTS)
    np.clip(image, lowest, highest, out=image)
    image -= mean
    image /= max(std, SMALLEST)


def _z_score(image: Image, inside: Mask, how: Normalization) -> None:
    if how.use_mask:  # what is outside keeps its value
        values = image[inside]
        image[inside] = (values - values.mean()) / max(values.std(), np.float32(SMALLEST))
        return
    mean, std = image.mean(), image.std()
    image -= mean
    image /= max(std, np.float32(SMALLEST))


def _none(image: Image, inside: Mask, how: Normalization) -> None:
    pass


def _to_01(image: Image, inside: Mask, how: Normalization) -> None:
    image -= image.min()
    image /= max(image.max(), np.float32(SMALLEST))


def _rgb_to_01(image: Image, inside: Mask, how: Normalization) -> None:
    low, high = image.min(), image.max()
    if low < 0 or high > 255:
        raise UserError(
            f"image: expected values from 0 to 255, as RGB images have, found {low:g} to {high:g}. Convert it as the "
            f"training images were."
        )
    image /= 255.0


SCHEMES: dict[str, Callable[[Image, Mask, Normalization], None]] = {
    "CTNormalization": _ct,
    "ZScoreNormalization": _z_score,
    "NoNormalization": _none,
    "RescaleTo01Normalization": _to_01,
    "RGBTo01Normalization": _rgb_to_01,
}
