"""Whether probabilities are those of the label map beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.data.classes import foreground_classes, map_names

ANOTHER = 0.01  # share of the foreground in which probabilities may give another label: rounding, ties


def are_of_labels(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], description: Mapping[str, Any]
) -> bool:
    """Return whether probabilities give a label map, as nnU-Net makes one of them; rounding and ties do not count.

    Args:
        probabilities: (K, D, H, W), of all labels, background included, or of regions.
        labels: (D, H, W).
        description: dataset.json.
    """
    classes = foreground_classes(description)
    regions = any(isinstance(value, tuple) for value in classes.values())
    if probabilities.shape != (len(classes) + (not regions), *labels.shape):
        return False
    mapped = np.zeros(labels.shape, np.int64)
    if regions:
        for chance, value in zip(probabilities, map_names(description), strict=True):
            mapped[chance > 0.5] = value
    else:
        mapped[:] = probabilities.argmax(0)
    foreground = (mapped > 0) | (labels > 0)
    return int((mapped != labels)[foreground].sum()) <= ANOTHER * int(foreground.sum())
