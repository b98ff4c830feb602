"""Preprocessed cases whose labels have a channel for each rater."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import blosc2  # type: ignore[import-untyped]
import numpy as np
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from numpy.typing import NDArray

from nnunet_ext.labels.raters.preprocessed_raters import MAPS, PROPERTIES

MAPPED = {} if os.name == "nt" else {"mmap_mode": "r"}  # as nnU-Net's own dataset


class StackedMaps:
    """Label maps behind each other, of which only the asked part is read.

    Args:
        parts: Arrays or stored arrays (C, D, H, W) of one size.

    Example:
        >>> import numpy as np
        >>> maps = StackedMaps([np.zeros((1, 2, 2, 2)), np.ones((3, 2, 2, 2))])
        >>> maps.shape
        (4, 2, 2, 2)
        >>> maps[:, 0, 0, 0].tolist()
        [0.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, D, H, W)."""
        return (sum(part.shape[0] for part in self._parts), *self._parts[0].shape[1:])

    def __getitem__(self, place: tuple[Any, ...]) -> NDArray[np.int16]:
        """Read a part; all channels, whatever is asked of the first axis."""
        return np.concatenate([part[(slice(None), *place[1:])] for part in self._parts])


class _OneChannel:
    """A stored map (D, H, W) as (1, D, H, W)."""

    def __init__(self, stored: Any) -> None:
        self._stored = stored
        self.shape = (1, *stored.shape)

    def __getitem__(self, place: tuple[Any, ...]) -> NDArray[np.int16]:
        found: NDArray[np.int16] = self._stored[place[1:]][None]
        return found


class RatedDataset:
    """A training dataset of nnU-Net's whose labels have the raters' maps behind them.

    The channels of a label: the case's own, that of a cascade's previous stage if there is one, then a rater each. The
    foreground that nnU-Net's loader looks for is that of any rater: one who draws too little would hide structures.

    Args:
        dataset: nnU-Net's own.
        folder: Of the raters' preprocessed maps.
    """

    def __init__(self, dataset: nnUNetBaseDataset, folder: Path) -> None:
        self._dataset = dataset
        self._maps = folder

    @property
    def identifiers(self) -> list[str]:
        """Names of the cases."""
        return self._dataset.identifiers

    def load_case(self, identifier: str) -> tuple[Any, StackedMaps, None, dict[str, Any]]:
        """Return image (C, D, H, W), labels (1 + R, D, H, W), nothing of an earlier stage, and properties."""
        image, label, earlier, properties = self._dataset.load_case(identifier)
        file = str(self._maps / f"{identifier}{MAPS}")
        maps = blosc2.open(urlpath=file, mode="r", dparams={"nthreads": 1}, **MAPPED)
        parts = [label, *([] if earlier is None else [_OneChannel(earlier)]), maps]
        located = load_pickle(str(self._maps / f"{identifier}{PROPERTIES}"))
        return image, StackedMaps(parts), None, properties | located
