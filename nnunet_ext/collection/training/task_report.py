"""The final validation of all tasks as one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from nnunet_ext.evaluation.markdown_table import in_cell
from nnunet_ext.files.json_file import read_json, write_json, write_text


def write_task_report(
    folder: Path, validations: Mapping[str, Path], classes: Mapping[str, Mapping[str, int | tuple[int, ...]]]
) -> str:
    """Write ``tasks.md``, ``tasks.json`` and, with the mean over all, ``summary.json``, from the tasks' summaries.

    Args:
        folder: The folder to write to.
        validations: By task, the folder of its validation.
        classes: By task, {class name: label or region}.

    Returns:
        The Markdown table: a row for each class of each task, and the task's mean.
    """
    scores: dict[str, dict[str, float]] = {}
    rows = [("task", "class", "cases", "Dice"), ("---", "---", "---:", "---:")]
    for task, place in validations.items():
        summary = read_json(place / "summary.json")
        cases = len(summary["metric_per_case"])
        scores[task] = {name: summary["mean"][str(value)]["Dice"] for name, value in classes[task].items()}
        rows += [(task, name, str(cases), _shown(score)) for name, score in scores[task].items()]
        if len(scores[task]) > 1:
            rows.append((task, "mean", str(cases), _shown(summary["foreground_mean"]["Dice"])))
    table = "\n".join(f"| {' | '.join(map(in_cell, row))} |" for row in rows)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "tasks.md", table + "\n")
    write_json(folder / "tasks.json", scores, indent=2)
    # without this file nnU-Net exports no model; cases and classes are those of the tasks
    found = [score for of_task in scores.values() for score in of_task.values()]
    means = [score for score in found if score is not None and not math.isnan(score)]
    mean = {"Dice": fmean(means) if means else math.nan}
    write_json(folder / "summary.json", {"metric_per_case": [], "mean": {}, "foreground_mean": mean}, indent=2)
    return table


def _shown(score: float | None) -> str:
    return "none" if score is None or math.isnan(score) else f"{score:.4f}"
