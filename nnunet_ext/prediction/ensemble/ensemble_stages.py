"""The stages of a prediction with several models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nnunet_ext.prediction.ensemble.joined_windows import JoinedWindows
from nnunet_ext.prediction.prepared_case import PreparedCase
from nnunet_ext.prediction.sliding_window import Progress, SlidingWindow
from nnunet_ext.prediction.stages import LabelledCase, Stages, network_pass


@dataclass(frozen=True)
class EnsembleCase(PreparedCase):
    """An image, preprocessed for the first model, and for each of the others.

    Args:
        others: For the other models.
    """

    others: tuple[PreparedCase, ...] = ()

    @classmethod
    def join(cls, cases: Sequence[PreparedCase]) -> EnsembleCase:
        """Put the cases of all models together; seconds are added up."""
        first, *others = cases
        return cls(
            first.image,
            first.properties,
            sum(case.reading for case in cases),
            sum(case.resampling for case in cases),
            tuple(others),
        )


@dataclass
class EnsembleStages(Stages):
    """What is done with a case; see :class:`Stages`.

    Args:
        others: The sliding windows of the models after the first.
    """

    others: tuple[SlidingWindow, ...] = ()

    def prepare(self, files: Sequence[Path]) -> EnsembleCase:
        """Read and preprocess a case for each model; see :meth:`PreparedCase.from_files`."""
        others = [PreparedCase.from_files(window.model, files, check=False) for window in self.others]
        return EnsembleCase.join([super().prepare(files), *others])

    def prepare_array(self, image: NDArray[Any], spacing: Sequence[float]) -> EnsembleCase:
        """Preprocess an image in memory for each model; see :meth:`PreparedCase.from_array`."""
        others = [PreparedCase.from_array(window.model, image, spacing) for window in self.others]
        return EnsembleCase.join([super().prepare_array(image, spacing), *others])

    def label(self, case: PreparedCase, progress: Progress | None = None) -> LabelledCase:
        """Predict a case: the labels that nnU-Net makes of the mean of the models' probabilities.

        Args:
            case: An :class:`EnsembleCase`.
            progress: Called after each window with the number of windows done and of all.

        Raises:
            UserError: The models crop the image differently, or a sum of logits does not fit fp16.
            RuntimeError: Not even the networks fit into the GPU's memory, or another error of the GPU.
        """
        assert isinstance(case, EnsembleCase)
        model = self.window.model
        labels = model.label_manager

        def export(slices: Iterator[Tensor]) -> NDArray[Any]:
            dtype = np.uint8 if len(labels.foreground_labels) < 255 else np.uint16
            whole: NDArray[Any] = np.zeros(case.properties["shape_before_cropping"], dtype)
            crop = whole[tuple(slice(*ends) for ends in case.properties["bbox_used_for_cropping"])]
            for place, probabilities in enumerate(slices):
                crop[place] = labels.convert_probabilities_to_segmentation(probabilities.cpu().numpy())
            return whole.transpose(model.plans_manager.transpose_backward)

        joined = JoinedWindows([self.window, *self.others], [case, *case.others])
        made = network_pass(joined, case.image, export, on_device=self.on_device, progress=progress)
        return LabelledCase(made.result, made.network, made.export)
