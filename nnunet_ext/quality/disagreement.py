"""Predict again by each fold alone, and with and without mirroring, and see where the label maps disagree."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_reader import read_image
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.prediction.model_zip import unpack_model
from nnunet_ext.prediction.predictor import Predictor
from nnunet_ext.prediction.trained_model import trained_folds
from nnunet_ext.quality.reason import SHOWN, Reason
from nnunet_ext.stock.models import check_folds

logger = logging.getLogger(__name__)
GAP = 0.3  # 1 - Dice at the threshold: with less than 0.7, two predictions show different things


@dataclass(frozen=True)
class Repetition:
    """How to predict again.

    Args:
        model: Folder or zip file of the model.
        folds: Folds; none: all that are trained.
        checkpoint: Name of the checkpoint.
        device: ``cpu``, ``cuda`` or ``mps``.
        trust: Let the model run the code that its files name; only for models whose maker you know.
        step_size: Step of the sliding window in patches.
        mirrored: Folder of label maps that the first fold alone predicted with mirroring; None: they are predicted.
    """

    model: Path
    folds: Sequence[str] = ()
    checkpoint: str = "checkpoint_final.pth"
    device: str = "cuda"
    trust: bool = False
    step_size: float = 0.5
    mirrored: Path | None = None

    def check(self) -> None:
        """Refuse, before anything takes long, folds that are not trained; those in a zip file are found later.

        Raises:
            UserError: A fold's checkpoint is missing or damaged, or no fold has one.
        """
        if self.model.is_dir():
            folds = list(self.folds) or trained_folds(self.model, self.checkpoint)
            if not folds:
                raise UserError(
                    f"{self.model}: expected a fold with {self.checkpoint} to predict again, found none. Leave out "
                    f"--disagreement, or choose another with -chk."
                )
            check_folds(self.model, folds, self.checkpoint, self.trust)

    def reasons(
        self,
        cases: Sequence[Case],
        classes: Mapping[str, int | tuple[int, ...]],
        scratch: Path,
        *,
        at_least: float = SHOWN,
        show_progress: bool = True,
    ) -> dict[str, list[Reason]]:
        """Predict cases by each fold alone without mirroring, and by the first fold with it; compare.

        Args:
            cases: The cases, with the files of their images.
            classes: For each class its label, or the labels of its region.
            scratch: An empty folder for label maps and, of a zip file, the model.
            at_least: Reasons of less suspicion are left out.
            show_progress: Show a progress bar.

        Returns:
            By case its reasons of the kind ``disagreement``: the lowest Dice of two folds, and that of mirroring, for
            each class. A case that cannot be predicted has a reason of the kind ``file``.

        Raises:
            UserError: The model cannot be used, or it has one fold and no mirroring, so that there is nothing to
                compare.
        """
        model = self.model
        if model.is_file():
            (scratch / "model").mkdir()
            model = unpack_model(model, scratch / "model", self.checkpoint)
        folds = list(self.folds) or trained_folds(model, self.checkpoint)
        first = self._predictor(model, folds[:1] or None, mirroring=False)
        mirrors = first.model.mirroring_axes is not None
        if len(folds) < 2 and not mirrors:
            raise UserError(
                f"{self.model}: expected several folds or a training with mirroring to compare predictions, found one "
                f"fold without mirroring. Leave out --disagreement."
            )
        runs = [(fold, False) for fold in folds] + [(folds[0], True)] * (mirrors and self.mirrored is None)
        failed: dict[str, list[Reason]] = {}
        with tqdm(total=len(runs) * len(cases), desc="again", unit="case", disable=not show_progress) as bar:
            for number, (fold, mirroring) in enumerate(runs):
                predictor = first if number == 0 else self._predictor(model, [fold], mirroring=mirroring)
                for case in cases:
                    if case.name not in failed:
                        with _noting(case, failed):
                            predictor.predict_files(case.images, _file(scratch, number, case, predictor))
                    bar.update()
        reader = first.model.plans_manager.image_reader_writer_class()
        found: dict[str, list[Reason]] = {}
        for case in cases:
            if case.name not in failed:
                with _noting(case, failed):
                    files = self.label_maps(scratch, case, first.model.file_ending)
                    maps = [read_image(reader, file, label=True)[0][0] for file in files]
                    reasons = _disagreements(maps[: len(folds)], folds, maps[len(folds) :], classes)
                    found[case.name] = [reason for reason in reasons if reason.suspicion >= at_least]
        return failed | found

    def label_maps(self, scratch: Path, case: Case, ending: str) -> list[Path]:
        """Return the label maps of a case that :meth:`reasons` compared: of each fold, then the mirrored one.

        Args:
            scratch: The folder that :meth:`reasons` wrote them into.
            case: The case.
            ending: File ending of label maps.
        """
        runs = sorted(int(place.name) for place in scratch.iterdir() if place.name.isdecimal())
        folders = [*(scratch / str(run) for run in runs), *filter(None, [self.mirrored])]
        return [folder / f"{case.name}{ending}" for folder in folders]

    def _predictor(self, model: Path, folds: Sequence[str] | None, *, mirroring: bool) -> Predictor:
        return Predictor(
            model,
            folds,
            self.checkpoint,
            device=self.device,
            step_size=self.step_size,
            mirroring=mirroring,
            trust=self.trust,
        )


@contextlib.contextmanager
def _noting(case: Case, failed: dict[str, list[Reason]]) -> Iterator[None]:
    """Note the error that a case ends with: whatever is wrong with one case must not lose the others."""
    try:
        yield
    except Exception as error:
        logger.error("case %s was not predicted again: %s", case.name, one_line(error))
        logger.debug("case %s", case.name, exc_info=True)
        failed[case.name] = [Reason("file", one_line(error))]


def _file(scratch: Path, number: int, case: Case, predictor: Predictor) -> Path:
    return scratch / str(number) / f"{case.name}{predictor.model.file_ending}"


def _disagreements(
    by_fold: Sequence[NDArray[Any]],
    folds: Sequence[str],
    mirrored: Sequence[NDArray[Any]],
    classes: Mapping[str, int | tuple[int, ...]],
) -> list[Reason]:
    """For each class the worst pair of folds, and mirroring."""
    reasons = []
    for name, value in classes.items():
        masks = [np.isin(labels, value) for labels in by_fold]
        pairs = itertools.combinations(range(len(masks)), 2)
        scores = {(one, other): _dice(masks[one], masks[other]) for one, other in pairs}
        if scores:
            one, other = min(scores, key=scores.__getitem__)
            worst = scores[one, other]
            text = f"{name}: folds {folds[one]} and {folds[other]} overlap by a Dice of {worst:.2f}"
            reasons.append(_reason(text, worst, name))
        for labels in mirrored:
            dice = _dice(masks[0], np.isin(labels, value))
            text = f"{name}: with and without mirroring overlap by a Dice of {dice:.2f}"
            reasons.append(_reason(text, dice, name))
    return reasons


def _reason(text: str, dice: float, name: str) -> Reason:
    suspicion = (1 - dice) / (1 - dice + GAP)
    return Reason("disagreement", text + " only" * (suspicion >= SHOWN), suspicion, name)


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """1 where neither has the class: they agree."""
    size = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / size if size else 1.0
