"""Which voxels of a label a confident prediction may change: the four conditions of ADELE (Liu et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray


def corrected(
    labels: NDArray[Any],
    prediction: NDArray[Any],
    confident: NDArray[np.bool_],
    flagged: Collection[int],
    *,
    ignore: int | None = None,
) -> NDArray[Any]:
    """Return a label map in which confident predictions replace what is wrong in flagged classes.

    A voxel changes if the prediction is confident there, its old label is background or flagged, its new one is
    background or flagged, and the new one is background or occurs in the label already: no class is introduced.

    Args:
        labels: (D, H, W), or any shape.
        prediction: Labels of the same shape.
        confident: Where the prediction is confident; False where the label does not count.
        flagged: Labels.
        ignore: What the voxels become instead of their predicted label; None: that.

    Example:
        >>> import numpy as np
        >>> sure = np.array([0.95, 0.6, 0.95, 0.95]) > 0.9
        >>> corrected(np.array([0, 1, 1, 2]), np.array([1, 1, 0, 1]), sure, {1})
        array([1, 1, 0, 2])
    """
    legal = [0, *flagged]
    known = [0, *np.unique(labels)]
    changes = confident & np.isin(labels, legal) & np.isin(prediction, legal) & np.isin(prediction, known)
    changes &= labels != prediction
    return np.where(changes, prediction if ignore is None else ignore, labels).astype(labels.dtype, copy=False)
