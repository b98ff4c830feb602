"""Pseudo-labels on disk, and unlabelled images together with them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import load_pickle, write_pickle
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_ext.data.preprocessed.marker import DataMarker

LABELS, PROPERTIES = ".b2nd", ".pkl"  # the latter marks a case as complete


@dataclass(frozen=True)
class PseudoLabelFolder:
    """Pseudo-labels of preprocessed cases by one network: label maps, and where to find which class.

    Files are written elsewhere and then moved, so a run that was killed resumes where it stopped. A :class:`DataMarker`
    beside the folder says which network made them.

    Args:
        place: The folder, which need not exist.
    """

    place: Path

    @property
    def marker(self) -> DataMarker:
        """Records what is there."""
        return DataMarker(self.place)

    @property
    def partial(self) -> Path:
        """Where cases are written."""
        return self.place.with_name(f"{self.place.name}.partial")

    def begin(self, digest: str) -> None:
        """Keep what was begun by the same network, and nothing else."""
        if self.marker.digest() != digest or self.marker.sizes():
            shutil.rmtree(self.place, ignore_errors=True)
        shutil.rmtree(self.partial, ignore_errors=True)
        for folder in (self.place, self.partial):
            folder.mkdir(exist_ok=True)
        self.marker.begin(digest)

    def finish(self, digest: str) -> None:
        """Record that all cases are there."""
        shutil.rmtree(self.partial)
        self.marker.finish(digest)

    def has(self, case: str) -> bool:
        """Tell whether a case is there."""
        return all((self.place / f"{case}{ending}").is_file() for ending in (LABELS, PROPERTIES))

    def write(self, case: str, labels: np.ndarray, class_locations: dict[Any, Any], like: Any) -> None:
        """Write a case.

        Args:
            case: Its name.
            labels: (1, D, H, W).
            class_locations: Where nnU-Net's loader finds foreground.
            like: Blosc array of the same shape, whose chunks and blocks are taken.
        """
        nnUNetDatasetBlosc2.save_seg(labels, str(self.partial / case), like.chunks, like.blocks)
        write_pickle({"class_locations": class_locations}, str(self.partial / f"{case}{PROPERTIES}"))
        for ending in (LABELS, PROPERTIES):
            (self.partial / f"{case}{ending}").replace(self.place / f"{case}{ending}")

    def class_locations(self, case: str) -> dict[Any, Any]:
        """Return where nnU-Net's loader finds foreground."""
        return load_pickle(str(self.place / f"{case}{PROPERTIES}"))["class_locations"]


class PseudoLabelled:
    """A dataset whose images are in one folder and whose labels are in another.

    nnU-Net's own dataset reads both: a cascade's second stage has such a folder of labels.

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

    def labels(self, identifier: str) -> np.ndarray:
        """Return the pseudo-labels of a case, (1, D, H, W)."""
        return self.load_case(identifier)[1][:]
