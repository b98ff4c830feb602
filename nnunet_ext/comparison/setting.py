"""What the runs of a comparison share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.comparison.scored_cases import ScoredCases
from nnunet_ext.evaluation.mask_metrics import Metric


@dataclass(frozen=True)
class Setting:
    """What all runs of a comparison share.

    Args:
        d: Dataset, number or name.
        p: Plans' name.
        c: Configuration.
        device: ``cpu``, ``cuda`` or ``mps``.
        out: The comparison's folder.
        knobs: ``KEY=VALUE`` for all runs.
        scored: The cases to score.
        metrics: What is measured besides Dice and HD95.
    """

    d: str
    p: str
    c: str
    device: str
    out: Path
    knobs: tuple[str, ...]
    scored: ScoredCases
    metrics: tuple[Metric, ...] = ()
