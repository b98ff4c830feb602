"""Predict a case with nnU-Net's predictor or with ours, in a process that does nothing else."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from numpy.typing import NDArray

from nnunet_ext.data.image_case import Case
from nnunet_ext.prediction.parity.logit_gap import LogitGap
from nnunet_ext.prediction.predictor import Predictor
from nnunet_ext.processes.process_memory import process_memory


@dataclass(frozen=True)
class Settings:
    """How a model is used; both sides get the same.

    Args:
        model: Its folder.
        folds: Folds whose logits are averaged.
        checkpoint: Name of the checkpoint.
        device: ``"cpu"``, ``"cuda"`` or ``"mps"``.
        step_size: Step of the sliding window, in patches.
        mirroring: Average over the mirrorings that the training used.
        trust: Let the model run the code that its files name.
    """

    model: Path
    folds: tuple[str, ...]
    checkpoint: str
    device: str
    step_size: float
    mirroring: bool
    trust: bool = False


@dataclass(frozen=True)
class Cost:
    """What a case took.

    Args:
        seconds: From reading to writing, without loading the model.
        memory: Most bytes that the process has used so far beyond what it used before the model was loaded; None where
            the system does not count them.
    """

    seconds: float
    memory: int | None


def predict_ours(settings: Settings, case: Case, file: Path) -> Cost:
    """Predict a case with our predictor, and write its label map."""
    side = _ours(settings)
    return side.cost(lambda: side.predictor.predict_files(case.images, file))


def predict_stock(settings: Settings, case: Case, file: Path) -> Cost:
    """Predict a case with nnU-Net's predictor, and write its label map; its logits are kept until the next one."""
    side = _stock(settings)
    side.logits = None
    return side.cost(lambda: side.predict(case.images, file))


def stock_gap(settings: Settings, voxels: NDArray[Any], ours: NDArray[Any], stock: NDArray[Any]) -> float:
    """Return the largest gap between two labels of voxels of the case that :func:`predict_stock` predicted last.

    Args:
        settings: As there.
        voxels: Flat indices (n) in the image, axes in the order in which it was read.
        ours: Our labels (n).
        stock: nnU-Net's labels (n).

    Returns:
        The gap in steps of fp16; see :class:`LogitGap`.

    Raises:
        RuntimeError: No case was predicted in this process.
    """
    logits = _stock(settings).logits
    if logits is None:
        raise RuntimeError("expected predict_stock to have predicted a case in this process, found none")
    return logits.largest(voxels, ours, stock)


@dataclass
class _Side:
    """What both sides share; made before the model is loaded."""

    settings: Settings
    _start: int | None = field(init=False)

    def __post_init__(self) -> None:
        # as nnU-Net's command does; the last bit of a network's output may depend on it
        torch.set_num_threads(os.cpu_count() or 1 if self.settings.device == "cpu" else 1)
        memory = process_memory()
        self._start = None if memory is None else memory.now

    def cost(self, predict: Callable[[], object]) -> Cost:
        """Predict, and return what that took."""
        with _quiet():
            start = perf_counter()
            predict()
            seconds = perf_counter() - start
        memory = process_memory()
        return Cost(seconds, None if memory is None or self._start is None else memory.peak - self._start)


@dataclass
class _Ours(_Side):
    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.settings
        self.predictor = Predictor(
            given.model,
            given.folds,
            given.checkpoint,
            device=given.device,
            step_size=given.step_size,
            mirroring=given.mirroring,
            trust=given.trust,
        )
        _make_repeatable()


@dataclass
class _Stock(_Side):
    logits: LogitGap | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.settings
        with _quiet():
            self.predictor = nnUNetPredictor(
                tile_step_size=given.step_size,
                use_mirroring=given.mirroring,
                device=torch.device(given.device),
                allow_tqdm=False,
            )
            self.predictor.initialize_from_trained_model_folder(
                str(given.model), given.folds, checkpoint_name=given.checkpoint
            )
        _make_repeatable()

    def predict(self, images: Sequence[Path], file: Path) -> None:
        """Do what ``predict_from_files_sequential`` does with a case, and keep its logits."""
        used = self.predictor
        plans, planned, description = used.plans_manager, used.configuration_manager, used.dataset_json
        preprocessor = planned.preprocessor_class(verbose=False)
        image, _, properties = preprocessor.run_case([str(name) for name in images], None, plans, planned, description)
        logits = used.predict_logits_from_preprocessed_data(torch.from_numpy(image)).cpu()
        truncated = str(file).removesuffix(description["file_ending"])
        export_prediction_from_logits(logits, properties, planned, plans, description, truncated)
        self.logits = LogitGap(np.asarray(logits), properties, plans, planned, used.label_manager)


@functools.lru_cache(maxsize=1)
def _ours(settings: Settings) -> _Ours:
    return _Ours(settings)


@functools.lru_cache(maxsize=1)
def _stock(settings: Settings) -> _Stock:
    return _Stock(settings)


def _make_repeatable() -> None:
    """Let the GPU compute a convolution in the same way in both processes, not in the one that was fastest there."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what nnU-Net prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
