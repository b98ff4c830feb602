"""What the resampling functions expect of their arguments, and arrays in a form that torch reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nnunet_ext.errors import UserError


def check_arguments(function: str, given: Sequence[int], shape: Sequence[int], separate_axis: int | None) -> None:
    """Check the sizes that a resampling function was called with.

    Args:
        function: Its name, for the message.
        given: Shape of the array, expected (C, D, H, W).
        shape: Shape to resample to, expected three sizes.
        separate_axis: Axis of thick slices, expected None, 0, 1 or 2.

    Raises:
        UserError: One of them is not as expected.
    """
    if len(given) != 4:
        raise UserError(f"{function}: expected an array (C, D, H, W), got shape {tuple(given)}; add or drop an axis")
    if len(shape) != 3 or min(shape) < 0:
        raise UserError(f"{function}: expected three sizes (D, H, W) to resample to, got {tuple(shape)}; pass three")
    if separate_axis not in (None, 0, 1, 2):
        raise UserError(
            f"{function}: expected separate_axis None, 0, 1 or 2, got {separate_axis}; axes count from D, without C"
        )


def readable(array: NDArray[Any], dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Return an array that torch can read: the same if possible, else a copy.

    Args:
        array: Any array. torch reads no read-only and no reversed ones.
        dtype: Of the result; None: the same.
    """
    if min(array.strides, default=0) < 0:
        return np.array(array, dtype, order="C")
    return np.require(array, dtype, ["C_CONTIGUOUS", "WRITEABLE"])
