"""The numbers of all cases as CSV with the challenge's columns, as JSON and as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from nnunet_ext.challenges.challenge import Challenge
from nnunet_ext.challenges.evaluation import Evaluation
from nnunet_ext.evaluation.markdown_table import markdown_table
from nnunet_ext.evaluation.mask_metrics import MaskPair

AVERAGE = "average"  # name of the last row


def csv_table(evaluation: Evaluation) -> str:
    """Return a line for each case, and their mean as the last one; a number that is not counted is an empty cell.

    Args:
        evaluation: What was measured.
    """
    challenge = evaluation.challenge
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([challenge.case_column, *challenge.columns])
    rows = [(case.name, case.values) for case in evaluation.scored]
    for name, values in [*rows, (AVERAGE, evaluation.average)]:
        writer.writerow(
            [name, *("" if values[column] is None else repr(values[column]) for column in challenge.columns)]
        )
    return stream.getvalue()


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return all numbers, and how they were counted.

    Args:
        evaluation: What was measured.
    """
    challenge = evaluation.challenge
    return {
        "challenge": challenge.name,
        "voxel_size_of": challenge.spacing_of,
        "structures": {each.name: list(each.labels) for each in challenge.structures},
        "columns": {
            column: {
                "metric": measure.metric.name,
                "definition": measure.metric.definition,
                "both_empty": _words(measure.empty.both),
                "one_empty": _words(measure.empty.one),
            }
            for column, measure in challenge.measures.items()
        },
        "missing": {"rule": evaluation.rule, "cases": list(evaluation.missing)},
        "missing_structures": {case.name: list(case.missing) for case in evaluation.scored if case.missing},
        "extra": list(evaluation.extra),
        "references_per_case": {case.name: case.references for case in evaluation.scored},
        "cases": {case.name: case.values for case in evaluation.scored},
        "average": evaluation.average,
    }


def summary(evaluation: Evaluation) -> str:
    """Return a Markdown table, a row for each structure with its means, and below it how they were counted."""
    challenge, average = evaluation.challenge, evaluation.average
    metrics = _metric_names(challenge)
    rows = [["mean over cases", *metrics]]
    for structure in challenge.structures:
        values = [average[measure.column] for measure in structure.measures]
        rows.append([structure.name, *("none" if value is None else f"{value:.4f}" for value in values)])
    return "\n\n".join([markdown_table(rows), "\n".join(_notes(evaluation))])


def _metric_names(challenge: Challenge) -> list[str]:
    """A name for each place of a structure's measures; tolerances that differ between structures are left out."""
    found = []
    for same in zip(*(each.measures for each in challenge.structures), strict=True):
        names = {measure.metric.name for measure in same}
        found.append(names.pop() if len(names) == 1 else names.pop().partition("@")[0])
    return found


def _notes(evaluation: Evaluation) -> list[str]:
    definitions = {each.metric.name: each.metric.definition for each in evaluation.challenge.measures.values()}
    found = [f"{name}: {definition}." for name, definition in definitions.items()]
    cases = len(evaluation.scored)
    counts = sorted({case.references for case in evaluation.scored})
    found.append(
        f"{cases} case{'s' * (cases > 1)}, each compared with {' or '.join(map(str, counts))} reference"
        f"{'s' * (counts != [1])}."
    )
    if evaluation.missing:
        counted = "count as worst" if evaluation.rule == "worst" else "are left out"
        found.append(f"{len(evaluation.missing)} without a prediction {counted}: {', '.join(evaluation.missing)}.")
    if evaluation.extra:
        one = len(evaluation.extra) == 1
        found.append(
            f"{len(evaluation.extra)} prediction{'' if one else 's'} without a reference {'is' if one else 'are'} left "
            f"out: {', '.join(evaluation.extra)}."
        )
    if lacking := [case for case in evaluation.scored if case.missing]:
        names = "; ".join(f"{case.name} ({', '.join(case.missing)})" for case in lacking)
        found.append(f"{len(lacking)} case{'s lack' if len(lacking) > 1 else ' lacks'} structures: {names}.")
    return found


def _words(rule: float | Callable[[MaskPair], float] | None) -> float | str:
    if rule is None:
        return "not counted"
    return rule.__name__ if callable(rule) else rule
