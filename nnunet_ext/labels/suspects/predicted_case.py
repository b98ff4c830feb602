"""A training case and its prediction by the fold that did not train on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.data.case_check import read_label
from nnunet_ext.data.dataset_json import IGNORE, not_annotated
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.files.probabilities_file import read_probabilities
from nnunet_ext.labels.probabilities import are_of_labels
from nnunet_ext.labels.suspects.label_pair import LabelPair
from nnunet_ext.quality.grid import Grid

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter


@dataclass(frozen=True)
class PredictedCase:
    """The files of a case.

    Args:
        case: Images and label.
        fold: Number of the fold that validated on it.
        prediction: The fold's label map.
        probabilities: The fold's ``.npz``; None if it did not write one.
    """

    case: Case
    fold: int
    prediction: Path
    probabilities: Path | None

    @property
    def name(self) -> str:
        """Of the case."""
        return self.case.name

    @property
    def label(self) -> Path:
        """The label file."""
        assert self.case.label is not None  # a training case
        return self.case.label

    def read(self, description: Mapping[str, Any], reader: BaseReaderWriter, *, probabilities: bool) -> LabelPair:
        """Read label and prediction; what is ignored, or predicted and not annotated, is background in both.

        Args:
            description: dataset.json, with labels as numbers.
            reader: Of nnU-Net.
            probabilities: Also read probabilities, if there are any.

        Raises:
            UserError: A file is damaged, holds other labels, or does not fit the others.
        """
        legal = RawDataset(Path(), dict(description)).legal_labels()
        read, _ = read_label(self.label, reader, legal)
        predicted, properties = read_label(self.prediction, reader, legal)  # the label may be a .tif without spacing
        if read.shape != predicted.shape:
            raise UserError(
                f"{self.label}: expected the shape {predicted.shape[1:]} of its prediction, got {read.shape[1:]}: it "
                f"was changed since. Preprocess and train again."
            )
        labels, prediction = read[0].astype(np.int32), predicted[0].astype(np.int32)
        chances = self._read_probabilities(prediction, description) if probabilities else None
        ignore = description["labels"].get(IGNORE)
        counts = np.ones(labels.shape, bool) if ignore is None else labels != ignore
        return LabelPair.of(
            labels,
            prediction,
            counts,
            Grid.of(labels.shape, properties, str(self.prediction)),
            unknown=not_annotated(description, self.name),
            description=description,
            chances=chances,
        )

    def _read_probabilities(
        self, prediction: NDArray[np.int32], description: Mapping[str, Any]
    ) -> NDArray[np.float32] | None:
        """Probabilities (C, D, H, W), if they are those of the prediction."""
        if self.probabilities is None:
            return None
        found = read_probabilities(self.probabilities, "Delete it, or validate again with --val --npz.")
        if not are_of_labels(found, prediction, description):
            raise UserError(
                f"{self.probabilities}: expected the probabilities of {self.prediction.name} beside it, found those of "
                f"another prediction: an earlier training wrote them. Delete them, or validate again with --val --npz."
            )
        return found
