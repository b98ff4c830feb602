"""The model of a container: loaded once, run for each input."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch

from nnunet_ext.challenges.container.inputs import InputCase, find_cases
from nnunet_ext.challenges.container.output_file import check_free, write_output
from nnunet_ext.challenges.container.readable_image import readable_images
from nnunet_ext.challenges.container.settings import ContainerSettings
from nnunet_ext.challenges.container.time_budget import BudgetedWindow
from nnunet_ext.challenges.conversion.challenge_record import KEY, ChallengeRecord
from nnunet_ext.errors import UserError
from nnunet_ext.prediction.stages import Stages
from nnunet_ext.prediction.stock_reasons import reason_for_stock
from nnunet_ext.prediction.trained_model import TrainedModel

logger = logging.getLogger(__name__)
RESERVE = 0.05  # share of the time budget that is kept for writing, at least


class Algorithm:
    """A loaded model that predicts what is in an input folder; make it with :meth:`load`.

    Args:
        settings: How to predict.
        model: The model.
        device: Where the network runs.
    """

    def __init__(self, settings: ContainerSettings, model: TrainedModel, device: torch.device) -> None:
        self._settings = settings
        self._window = BudgetedWindow(model, device, step_size=settings.step_size, mirroring=settings.mirroring)
        self._stages = Stages(self._window, on_device=device.type == "cuda")
        self._record = ChallengeRecord.of(model.dataset_json) if KEY in model.dataset_json else None

    @classmethod
    def load(cls, model: Path, settings: ContainerSettings, device: str | None = None) -> Algorithm:
        """Load a model.

        Args:
            model: Its folder, with ``plans.json``.
            settings: How to predict.
            device: ``cuda`` or ``cpu``; None: the GPU if there is one.

        Raises:
            UserError: It is missing or damaged, has other channels than the settings, or needs nnU-Net's own command.

        Example:
            >>> algorithm = Algorithm.load(Path("/opt/ml/model"), settings)  # doctest: +SKIP
            >>> algorithm.run(Path("/input"), Path("/output"))  # doctest: +SKIP
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if device == "cpu":
            logger.warning("torch finds no GPU, or was told not to use one: the network runs on the CPU")
        torch.set_num_threads((os.cpu_count() or 1) if device == "cpu" else 1)  # as nnUNetv2_predict does
        found = TrainedModel.load(model, settings.folds, settings.checkpoint)
        reason = reason_for_stock(found.plans_manager.plans, found.dataset_json, found.configuration_name)
        if reason is not None:
            raise UserError(f"{model}: expected a model that nnunet_ext predicts, but {reason}. Use another model.")
        inputs = len(settings.interface.inputs)
        if found.channels != inputs:
            raise UserError(
                f"{model}: expected a model of {inputs} channels, as the settings have inputs, found {found.channels}. "
                f"Run nnunet_ext package again."
            )
        return cls(settings, found, torch.device(device))

    def run(self, input_folder: Path, output_folder: Path, start: float | None = None) -> list[Path]:
        """Predict what is in the input folder.

        Both folders may be links that show others at the next call.

        Args:
            input_folder: Of the platform.
            output_folder: Of the platform.
            start: When the time budget of the first case began, as ``time.perf_counter()`` counts; None: now.

        Returns:
            The written files, one for each case.

        Raises:
            UserError: An image is missing or damaged, or the output is not free.
        """
        start = perf_counter() if start is None else start
        interface = self._settings.interface
        files = []
        cases = find_cases(input_folder, interface)
        targets = [
            output_folder / interface.output.relative_path / f"{case.name}{interface.output.ending}" for case in cases
        ]
        check_free(targets, alone=not interface.several_cases)
        for case, target in zip(cases, targets, strict=True):
            self._predict(case, target, start)
            logger.info("%s written after %.1f s", target, perf_counter() - start)
            files.append(target)
            start = perf_counter()
        return files

    def _predict(self, case: InputCase, target: Path, start: float) -> None:
        model = self._stages.window.model
        with TemporaryDirectory(prefix="nnunet_ext_case_") as place:
            folder = Path(place)
            begin = perf_counter()
            prepared = self._stages.prepare(readable_images(case.images, model, folder))
            self._set_deadline(start, perf_counter() - begin)
            labelled = self._stages.label(prepared)
            labels = folder / f"labels{model.file_ending}"
            self._stages.write(labelled.labels, prepared.properties, labels)
            write_output(labels, case.images[0], target, self._settings.interface.output, self._record)

    def _set_deadline(self, start: float, prepared: float) -> None:
        """Writing is assumed to take as long as reading and preprocessing took."""
        budget = self._settings.time_budget
        if budget is not None:
            self._window.deadline = start + budget - max(prepared, RESERVE * budget)
