"""Predictions by nnU-Net and by ours, compared voxel by voxel."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nnunet_ext.data.image_case import Case
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.prediction.parity.sides import Cost, Settings, predict_ours, predict_stock, stock_gap
from nnunet_ext.prediction.trained_model import TrainedModel

ONE_STEP = 1 + 2**-8  # of fp16, and what rounding in float32 adds to it
OURS, STOCK = "nnunet_ext", "stock"  # folders of label maps
NAMES = {OURS: "nnunet_ext", STOCK: "nnU-Net"}
PART = 1 << 20  # voxels that are measured at once
Result = TypeVar("Result")


@dataclass(frozen=True)
class CaseParity:
    """How two predictions of a case differ.

    Args:
        name: The case.
        voxels: Of the image.
        differing: Voxels whose labels differ.
        dice: Mean Dice between the two label maps over the labels that at least one of them has, without background;
            None if neither has any.
        gap: Largest gap between the logits of the two labels of a differing voxel, in steps of fp16; 0 if none differs.
        ours: What our prediction took.
        stock: What nnU-Net's prediction took.
    """

    name: str
    voxels: int
    differing: int
    dice: float | None
    gap: float
    ours: Cost
    stock: Cost

    @property
    def is_rounding(self) -> bool:
        """Whether the labels differ at most where two logits are equal within a step of fp16."""
        return self.gap <= ONE_STEP


@dataclass(frozen=True)
class FailedComparison:
    """A case that one of the two could not predict.

    Args:
        name: The case.
        problem: Which of the two failed, and why: one line, which names the case.
    """

    name: str
    problem: str


def compare_predictions(
    settings: Settings, model: TrainedModel, cases: Sequence[Case], output: Path
) -> Iterator[CaseParity | FailedComparison]:
    """Predict cases by both, each in a process of its own, and yield how the predictions differ.

    The two take turns, case by case, so that what else the machine does slows down both. A case that fails does not end
    the comparison of others; nnU-Net does not predict what ours could not.

    Args:
        settings: The model and how it is used.
        model: The same model.
        cases: The cases.
        output: Folder for the label maps, which are written into ``nnunet_ext`` and ``stock`` there.

    Yields:
        One result for each case, in the order of the cases.
    """
    files = {side: [output / side / f"{case.name}{model.file_ending}" for case in cases] for side in (OURS, STOCK)}
    for side in files:
        (output / side).mkdir(parents=True, exist_ok=True)
    reader = model.plans_manager.image_reader_writer_class()
    with contextlib.closing(_Process(OURS)) as ours, contextlib.closing(_Process(STOCK)) as stock:
        pairs = zip(cases, files[OURS], files[STOCK], strict=True)
        for case, *pair in tqdm(pairs, "comparing", len(cases), unit="case", disable=None):
            try:
                cost = ours.result(case, predict_ours, settings, case, pair[0])
                parity = _parity(stock, settings, case, cost, pair, reader)
            except UserError as error:
                yield FailedComparison(case.name, str(error))
            else:
                yield parity


def mean_dice(first: NDArray[Any], second: NDArray[Any]) -> float | None:
    """Return the mean Dice between two label maps over the labels that at least one of them has, without background.

    Args:
        first: Labels (D, H, W), from 0 up.
        second: Labels of the same shape.

    Returns:
        0 to 1; None if there are no labels.

    Example:
        >>> mean_dice(np.array([[[0, 1, 1, 2]]]), np.array([[[0, 1, 2, 2]]]))
        0.6666666666666666
    """
    highest = int(max(first.max(), second.max()))
    counts = np.zeros((3, highest + 1))
    for one, other in zip(first, second, strict=True):  # plane by plane, since bincount makes 8 bytes of each voxel
        both = one[one == other]
        for row, labels in zip(counts, (one.ravel(), other.ravel(), both), strict=True):
            row += np.bincount(labels.astype(np.intp), minlength=highest + 1)
    sizes, shared = (counts[0] + counts[1])[1:], counts[2][1:]
    present = sizes > 0
    return float((2 * shared[present] / sizes[present]).mean()) if present.any() else None


class _Process:
    """A fresh process, so that memory is counted apart, which does one job after another.

    If it is killed, another one takes its place.
    """

    def __init__(self, side: str) -> None:
        self._side = side
        self._pool = self._fresh()

    def result(self, case: Case, work: Callable[..., Result], *arguments: Any) -> Result:
        """Return the result of a job; raise a UserError that names the case if it fails."""
        try:
            return self._pool.submit(work, *arguments).result()
        except BrokenProcessPool as error:
            self.close()
            self._pool = self._fresh()
            raise UserError(
                f"{case.name}: expected a prediction by {NAMES[self._side]}, but its process ended: there is probably "
                f"too little memory. Leave out large images, or use a machine with more."
            ) from error
        except Exception as error:
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            raise UserError(
                f"{case.name}: expected a prediction by {NAMES[self._side]}, which failed: {kind}{one_line(error)}"
            ) from error

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()

    @staticmethod
    def _fresh() -> Executor:
        return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def _parity(
    process: _Process, settings: Settings, case: Case, cost: Cost, files: Sequence[Path], reader: Any
) -> CaseParity:
    """Predict a case by nnU-Net, and compare that with our label map.

    Args:
        process: That of nnU-Net.
        settings: The model and how it is used.
        case: The case.
        cost: What our prediction took.
        files: Our label map, and nnU-Net's.
        reader: Reads them.
    """
    stock_cost = process.result(case, predict_stock, settings, case, files[1])
    ours, stock = (reader.read_seg(str(file))[0][0] for file in files)
    voxels = np.flatnonzero(ours != stock)
    gap = 0.0
    for start in range(0, len(voxels), PART):
        part = voxels[start : start + PART]
        pair = [labels.ravel()[part].astype(np.intp) for labels in (ours, stock)]
        gap = float(np.maximum(gap, process.result(case, stock_gap, settings, part, *pair)))  # keeps a NaN
    return CaseParity(case.name, ours.size, len(voxels), mean_dice(ours, stock), gap, cost, stock_cost)
