"""What all resampling functions expect of their arguments."""

from __future__ import annotations

from collections.abc import Sequence

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
