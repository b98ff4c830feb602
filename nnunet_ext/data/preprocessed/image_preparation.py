"""Whether two plans prepare an image in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OF_CONFIGURATION = ("spacing", "normalization_schemes", "use_mask_for_norm")
ORDER, INTENSITIES = "transpose_forward", "foreground_intensity_properties_per_channel"
BY_INTENSITIES = "CTNormalization"  # clips and scales by those of the training images
Prepared = tuple[Mapping[str, Any], Mapping[str, Any]]


def differing_preparation(one: Prepared, other: Prepared) -> list[str]:
    """Return the keys of plans by which images are prepared differently.

    Args:
        one: Plans, and their configuration with what it inherits.
        other: The same.

    Example:
        >>> from nnunet_ext.data.preprocessed.image_preparation import differing_preparation
        >>> fine, coarse = ({"transpose_forward": [0, 1, 2]}, {"spacing": [1, 1, 1]}), ({}, {"spacing": [2, 1, 1]})
        >>> differing_preparation(fine, coarse)
        ['spacing', 'transpose_forward']
    """
    found = [key for key in OF_CONFIGURATION if _listed(one[1].get(key)) != _listed(other[1].get(key))]
    of_plans = (ORDER, INTENSITIES) if BY_INTENSITIES in one[1].get("normalization_schemes", ()) else (ORDER,)
    return found + [key for key in of_plans if _listed(one[0].get(key)) != _listed(other[0].get(key))]


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
