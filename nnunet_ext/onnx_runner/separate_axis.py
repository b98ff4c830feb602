"""nnU-Net's rule for thick slices: which axis, if any, is resampled on its own ("separate z")."""

from __future__ import annotations

from collections.abc import Sequence

from nnunet_ext.onnx_runner.model_description import Resampling


def separate_axis(how: Resampling, current: Sequence[float], new: Sequence[float]) -> int | None:
    """Return the axis of thick slices, or None if all axes are resampled together.

    It is the axis with the largest spacing, if that is larger than the smallest by more than the threshold: of the
    current spacing, else of the new one. If two axes share the largest spacing, slices are not thick but thin lines,
    and there is no such axis.

    Args:
        how: Whether to decide by the spacing, and the threshold.
        current: Spacing (D, H, W) in mm.
        new: Spacing that the array gets.

    Example:
        >>> separate_axis(Resampling(3, 0, None, 3), [5.0, 0.8, 0.8], [5.0, 1.0, 1.0])
        0
    """
    if how.force_separate_z is False:
        return None
    spacing = current
    if how.force_separate_z is None:
        thick = [each for each in (current, new) if max(each) / min(each) > how.separate_z_anisotropy_threshold]
        if not thick:
            return None
        spacing = thick[0]
    largest = [axis for axis, step in enumerate(spacing) if max(spacing) / step == 1]
    return largest[0] if len(largest) == 1 else None
