"""Unlabelled cases with pseudo-labels, for nnU-Net's loader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_ext.semi_supervised.pseudo_labels import PseudoLabelFolder


class PseudoLabelled:
    """A data set whose images are in one folder and whose labels are in another.

    nnU-Net's own data set reads both: a cascade's second stage has such a folder of labels.

    Args:
        images: Folder of preprocessed unlabelled cases.
        cases: Their names.
        labels: Folder of their pseudo-labels.
    """

    def __init__(self, images: Path, cases: Sequence[str], labels: PseudoLabelFolder) -> None:
        self._images = nnUNetDatasetBlosc2(str(images), list(cases), str(labels.place))
        self._labels = labels

    @property
    def identifiers(self) -> list[str]:
        """Names of the cases."""
        return self._images.identifiers

    def load_case(self, identifier: str) -> tuple[Any, Any, None, dict[str, Any]]:
        """Return image (C, D, H, W), pseudo-labels (1, D, H, W), nothing of an earlier stage, and properties."""
        image, _, labels, properties = self._images.load_case(identifier)
        return image, labels, None, properties | {"class_locations": self._labels.class_locations(identifier)}
