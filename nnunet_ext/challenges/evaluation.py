"""All cases of a folder, in several processes, each with one case in memory."""

from __future__ import annotations

import statistics
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from nnunet_ext.challenges.challenge import READER, Challenge
from nnunet_ext.challenges.matched_cases import match_cases
from nnunet_ext.challenges.scored_case import ScoredCase, Values, score_case
from nnunet_ext.data.image_reader import find_reader
from nnunet_ext.errors import UserError
from nnunet_ext.processes.workers import Workers


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a folder of predictions.

    Args:
        challenge: What is measured.
        scored: The cases by name.
        missing: References without a prediction.
        extra: Predictions without a reference, which do not count.
        rule: What happened to missing predictions: ``error``, ``worst`` or ``skip``.
    """

    challenge: Challenge
    scored: tuple[ScoredCase, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    rule: str

    @property
    def average(self) -> Values:
        """Mean over the cases by column, without those that are not counted; None: no case is."""
        return {column: _mean([case.values[column] for case in self.scored]) for column in self.challenge.columns}


def evaluate(
    challenge: Challenge,
    predictions: Path,
    references: Path,
    *,
    missing: str = "error",
    extra: str = "error",
    processes: int = 1,
    show_progress: bool = True,
) -> Evaluation:
    """Measure all predictions of a folder as a challenge does.

    Args:
        challenge: What is measured.
        predictions: Folder of label maps, or of folders of masks.
        references: Folder of the references.
        missing: For what is missing in the predictions: ``error``, ``worst`` (the worst value counts) or ``skip``.
        extra: For predictions without a reference: ``error`` or ``skip``.
        processes: Worker processes; each has one case in memory.
        show_progress: Show a progress bar.

    Raises:
        UserError: A file is missing or damaged, lies on another voxel grid or holds unknown labels.

    Example:
        >>> from pathlib import Path
        >>> from nnunet_ext.challenges.kits21 import kits21
        >>> evaluate(kits21(), Path("predictions"), Path("kits21/data")).average  # doctest: +SKIP
    """
    matched = match_cases(challenge, predictions, references, missing=missing, extra=extra)
    chosen = {} if challenge.reader is None else {READER: challenge.reader}
    reader = find_reader({"file_ending": challenge.ending} | chosen, challenge.example(matched.cases[0].reference))
    try:
        score = partial(score_case, challenge=challenge, reader=reader, missing=missing)
        with Workers(min(processes, len(matched.cases))) as workers:
            jobs = workers.each(score, matched.cases)
            bar = tqdm(jobs, "cases", len(matched.cases), unit="case", disable=not show_progress)
            scored = sorted(bar, key=lambda case: case.name)
    except BrokenProcessPool as error:
        raise UserError(
            f"{predictions}: expected to measure with {processes} processes, one was killed: there is probably too "
            f"little memory. Run it again with -np 1."
        ) from error
    return Evaluation(challenge, tuple(scored), matched.missing, matched.extra, missing)


def _mean(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present else None
