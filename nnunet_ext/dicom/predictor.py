"""Prediction of DICOM series from Python and for the command."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nnunet_ext import __version__
from nnunet_ext.data.image_case import Case
from nnunet_ext.dicom.channels import read_channels
from nnunet_ext.dicom.found_series import FoundSeries
from nnunet_ext.dicom.segmentation import Algorithm
from nnunet_ext.dicom.stages import DicomStages
from nnunet_ext.errors import UserError
from nnunet_ext.prediction.cases import CaseResult, predict_cases
from nnunet_ext.prediction.predictor import Predictor
from nnunet_ext.prediction.trained_model import TrainedModel
from nnunet_ext.stock.folders import check_writable

logger = logging.getLogger(__name__)
AXIAL = ({"H", "F"}, {"A", "P"}, {"L", "R"})  # closest directions of slices, rows, columns
READ_IN = "RAS"  # what nnU-Net's readers ...WithReorient turn every image to


class DicomPredictor(Predictor):
    """Predicts DICOM series and writes DICOM segmentations.

    Args:
        model: As in :class:`Predictor`.
        folds: As in :class:`Predictor`.
        checkpoint: As in :class:`Predictor`.
        **options: Device, step size and so on, as in :class:`Predictor`.

    Raises:
        UserError: As in :class:`Predictor`.

    Example:
        >>> from nnunet_ext.dicom.found_series import choose_series  # doctest: +SKIP
        >>> from nnunet_ext.dicom.predictor import DicomPredictor  # doctest: +SKIP
        >>> predictor = DicomPredictor("model.zip", device="cpu")  # doctest: +SKIP
        >>> series = choose_series([Path("exported")])  # doctest: +SKIP
        >>> results = predictor.predict_series(series, "segmentations")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path,
        folds: Sequence[int | str] | None = None,
        checkpoint: str = "checkpoint_final.pth",
        **options: Any,
    ) -> None:
        super().__init__(model, folds, checkpoint, **options)
        plans, window = self.model.plans_manager, self._stages.window
        self.algorithm = Algorithm(
            f"{plans.dataset_name} {self.model.configuration_name}",
            weights_digest(self.model),
            {
                "model": Path(model).name,
                "plans": plans.plans_name,
                "folds": "all trained" if folds is None else " ".join(map(str, folds)),
                "networks": str(len(self.model.parameters)),
                "checkpoint": checkpoint,
                "mirroring": str(window.mirroring_axes is not None),
                "step_size": str(window.step_size),
                "nnunet_ext": __version__,
                "nnunetv2": version("nnunetv2"),
            },
        )

    def predict_series(
        self,
        series: Sequence[FoundSeries],
        output: str | Path,
        *,
        orientation: str | None = None,
        overwrite: bool = True,
        parts: int = 1,
        part: int = 0,
        read_ahead: bool = True,
        write_behind: bool = True,
        check: bool = True,
        show_progress: bool = True,
    ) -> list[CaseResult]:
        """Predict series, and write a segmentation ``UID.dcm`` for each case, named after its first series.

        Args:
            series: With a model of C channels, C series after another are a case, in the order of dataset.json.
            output: Folder for the segmentations; made if it is not there.
            orientation: Directions of the axes X, Y, Z of the images that the model was trained with, such as RAS;
                None: as the series is stored, and RAS if nnU-Net's reader of the model turns every image to it.
            overwrite: Predict cases again that have a segmentation.
            parts: Of how many calls, which share the cases, this is one.
            part: Which of them, from 0.
            read_ahead: Read the next case, in a thread, while the network works.
            write_behind: Write the last segmentation, in a thread, while the network works.
            check: Refuse what is no volume before the first case is predicted.
            show_progress: Show progress bars.

        Returns:
            A result for each case that was predicted; ``problem`` of one that failed says why.

        Raises:
            UserError: The number of series does not fit the channels, a series is no volume, or the output cannot be
                written.
        """
        output = Path(output)
        cases = self._cases(series)[part::parts]
        check_writable(output, str(output))
        reader = self.model.plans_manager.plans["image_reader_writer"]
        if orientation is None and reader.endswith("WithReorient"):
            orientation = READ_IN
        stages = DicomStages(
            self._stages.window, self._stages.on_device, algorithm=self.algorithm, orientation=orientation
        )

        def file_of(case: Case) -> Path:
            return output / f"{case.name}.dcm"

        wanted = [case for case in cases if overwrite or not file_of(case).is_file()]
        for case in wanted if check else ():
            channels = read_channels(case.images)
            if orientation is None:
                self._warn_of_axes(case.name, channels[0].geometry.get_closest_patient_orientation())
        return predict_cases(
            stages,
            wanted,
            file_of,
            read_ahead=read_ahead,
            write_behind=write_behind,
            show_progress=show_progress,
        )

    def _cases(self, series: Sequence[FoundSeries]) -> list[Case]:
        channels = self.model.channels
        if not series or len(series) % channels:
            names = ", ".join(self.model.dataset_json.get("channel_names", {}).values())
            raise UserError(
                f"--dicom: expected {channels} series for each case, as the model has channels ({names}), found "
                f"{len(series)}. Name the series of each case in this order."
            )
        groups = [series[start : start + channels] for start in range(0, len(series), channels)]
        return [Case(group[0].uid, tuple(file for one in group for file in one.files)) for group in groups]

    def _warn_of_axes(self, name: str, directions: Sequence[object]) -> None:
        """Say what a wrong guess of the training images' axes would do; nothing in a model tells them."""
        letters = [str(getattr(direction, "value", direction)) for direction in directions]
        mirrored = self.model.mirroring_axes or ()
        if any(letter not in usual for letter, usual in zip(letters, AXIAL, strict=True)):
            reason = "its slices are not axial"
        elif len(mirrored) < len(self.model.configuration.patch_size):
            reason = "the model did not learn all mirror images"
        else:
            return
        logger.warning(
            "series %s is predicted with columns, rows and slices as it is stored, but %s. If the training images had "
            "other axes, the prediction is wrong: add --orientation, such as RAS",
            name,
            reason,
        )


def weights_digest(model: TrainedModel) -> str:
    """Return 16 hexadecimal digits that tell the weights of a model, of all its folds, from others."""
    digest = hashlib.sha256()
    for parameters in model.parameters:
        for name in sorted(parameters):
            digest.update(name.encode())
            weights = parameters[name].detach().cpu().contiguous().flatten()
            digest.update(weights.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
