"""What was decided about rules, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from typing import Any

from nnunet_ext.challenges.postprocessing.decision import Decision
from nnunet_ext.challenges.postprocessing.learning import Learned
from nnunet_ext.challenges.postprocessing.rule import Rule
from nnunet_ext.evaluation.markdown_table import markdown_table


def decisions_csv(learned: Learned) -> str:
    """Return a row for each decision: rule, gains, and for each fold the rule chosen without it and its gain there.

    Args:
        learned: What was learned.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    of_folds = [f"{fold}, {what}" for fold in learned.folds for what in ("gain", "rule chosen without it")]
    writer.writerow(["structure", "rule", "taken", "held-out gain", "gain on all cases", *of_folds])
    for each in learned.decisions:
        cells = [
            cell for fold in learned.folds for cell in (_exact(each.fold_gains[fold]), _words(each.fold_rules[fold]))
        ]
        writer.writerow(
            [
                each.structure,
                _words(each.rule),
                "yes" if each.taken else "no",
                _exact(each.held_out),
                _exact(each.all_cases),
                *cells,
            ]
        )
    return stream.getvalue()


def decisions_json(learned: Learned) -> dict[str, Any]:
    """Return all decisions, the cases of each fold, and the means before and after.

    Args:
        learned: What was learned.
    """
    return {
        "folds": {fold: list(cases) for fold, cases in learned.folds.items()},
        "decisions": [_decision(each) for each in learned.decisions],
        "means": {
            "without_rules": dict(learned.before),
            "held_out": dict(learned.held_out),
            "all_cases": dict(learned.after),
        },
        "total_gain": {
            "held_out": learned.total_gain(learned.held_out),
            "all_cases": learned.total_gain(learned.after),
        },
        "definitions": {column: measure.metric.definition for column, measure in learned.challenge.measures.items()},
    }


def summary(learned: Learned) -> str:
    """Return the decisions with the gain per fold, and the means of each column, as Markdown.

    Args:
        learned: What was learned.
    """
    rows = [["structure: rule", "taken", "held-out gain", *learned.folds]]
    for each in learned.decisions:
        gains = [_signed(each.fold_gains[fold]) for fold in learned.folds]
        name = f"{each.structure}: {_words(each.rule)}"
        rows.append([name, "yes" if each.taken else "no", _signed(each.held_out), *gains])
    means = [["mean over cases", "without rules", "held-out", "all cases"]]
    for column in learned.challenge.columns:
        values = (learned.before[column], learned.held_out[column], learned.after[column])
        means.append([column, *("none" if value is None else f"{value:.4f}" for value in values)])
    total = [learned.total_gain(each) for each in (learned.held_out, learned.after)]
    means.append(["mean gain", "", *map(_signed, total)])
    notes = (
        "Gain: mean over the columns that the rule can change; distances in units of their mean without rules. "
        "Held-out: each case with the rule that was chosen without its fold; only rules that gain there are taken. All "
        "cases: with the final rules, which were chosen by these cases."
    )
    tables = [markdown_table(rows)] if learned.decisions else ["No structure has components that a rule could remove."]
    return "\n\n".join([*tables, markdown_table(means), notes])


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "structure": decision.structure,
        "rule": None if decision.rule is None else decision.rule.as_json(),
        "taken": decision.taken,
        "held_out_gain": decision.held_out,
        "gain_on_all_cases": decision.all_cases,
        "folds": {
            fold: {"gain": decision.fold_gains[fold], "rule": None if rule is None else rule.as_json()}
            for fold, rule in decision.fold_rules.items()
        },
    }


def _words(rule: Rule | None) -> str:
    return "none gains" if rule is None else rule.words


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)


def _signed(value: float | None) -> str:
    return "none" if value is None else f"{value:+.4f}"
