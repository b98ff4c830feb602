"""Read the probabilities that nnU-Net writes beside a prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.errors import UserError, one_line


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
