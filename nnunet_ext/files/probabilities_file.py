"""The probabilities that nnU-Net writes beside a prediction: reading them, and whether they are those of its labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.data.classes import foreground_classes, map_names
from nnunet_ext.errors import UserError, one_line

ANOTHER = 0.01  # share of the foreground in which probabilities may give another label: rounding, ties


def read_probabilities(file: Path, remedy: str) -> NDArray[np.float32]:
    """Return the probabilities (K, D, H, W) of classes or regions, in the axis order of the label map.

    Args:
        file: The ``.npz`` file of ``nnUNetv2_predict --save_probabilities`` or ``nnUNetv2_train --npz``.
        remedy: What to do about a damaged file, for the message.

    Raises:
        UserError: The file is damaged, or holds something else.
    """
    try:
        with np.load(file) as content:
            found: NDArray[np.float32] = content["probabilities"]
    except Exception as error:  # numpy and zipfile raise many kinds
        raise UserError(
            f"{file}: expected probabilities as nnU-Net writes them, got a damaged file ({one_line(error)}). {remedy}"
        ) from error
    return found


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
