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


def compare_predictions(
    settings: Settings, model: TrainedModel, cases: Sequence[Case], output: Path
) -> Iterator[CaseParity]:
    """Predict cases by both, each in a process of its own, and yield how the predictions differ.

    All cases are predicted by ours before the first one is predicted by nnU-Net.

    Args:
        settings: The model and how it is used.
        model: The same model.
        cases: The cases.
        output: Folder for the label maps, which are written into ``nnunet_ext`` and ``stock`` there.

    Raises:
        UserError: One of the two could not predict a case; it says which of them and why.
    """
    files = {side: [output / side / f"{case.name}{model.file_ending}" for case in cases] for side in (OURS, STOCK)}
    for side in files:
        (output / side).mkdir(parents=True, exist_ok=True)
    reader = model.plans_manager.image_reader_writer_class()
    with tqdm(total=2 * len(cases), desc="predictions", unit="case", disable=None) as bar:
        costs = []
        with _process() as process:
            for case, file in zip(cases, files[OURS], strict=True):
                costs.append(_result(process, OURS, case, predict_ours, settings, case, file))
                bar.update()
        with _process() as process:
            for case, cost, ours_file, stock_file in zip(cases, costs, files[OURS], files[STOCK], strict=True):
                stock_cost = _result(process, STOCK, case, predict_stock, settings, case, stock_file)
                ours, stock = (reader.read_seg(str(file))[0][0] for file in (ours_file, stock_file))
                voxels = np.flatnonzero(ours != stock)
                gap = 0.0
                for start in range(0, len(voxels), PART):
                    part = voxels[start : start + PART]
                    pair = [labels.ravel()[part].astype(np.intp) for labels in (ours, stock)]
                    # np.maximum keeps a NaN
                    gap = float(np.maximum(gap, _result(process, STOCK, case, stock_gap, settings, part, *pair)))
                yield CaseParity(case.name, ours.size, len(voxels), mean_dice(ours, stock), gap, cost, stock_cost)
                bar.update()


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


@contextlib.contextmanager
def _process() -> Iterator[Executor]:
    """A fresh process, so that memory is counted apart, which does one job after another."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def _result(process: Executor, side: str, case: Case, work: Callable[..., Result], *arguments: Any) -> Result:
    try:
        return process.submit(work, *arguments).result()
    except BrokenProcessPool as error:
        raise UserError(
            f"{case.name}: expected a prediction by {NAMES[side]}, but its process ended: there is probably too little "
            f"memory. Leave out large images, or use a machine with more."
        ) from error
    except Exception as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        raise UserError(
            f"{case.name}: expected a prediction by {NAMES[side]}, which failed: {kind}{one_line(error)}"
        ) from error
