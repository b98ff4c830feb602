"""``suspects.csv``: a line for each case, suspects first; and which classes of which cases it calls suspect."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Sequence
from pathlib import Path

from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.files.text_file import read_text
from nnunet_ext.labels.suspects.class_measures import ClassMeasures
from nnunet_ext.labels.suspects.ranking import RankedCase
from nnunet_ext.labels.suspects.search import Suspects
from nnunet_ext.quality.reason import THRESHOLD

NAMES = ("case", "suspicion", "rank", "fold", "classes", "reasons")
COLUMNS = {
    "Dice": lambda found: found.dice,
    "NSD at 2 voxels": lambda found: found.nsd,
    "z": None,
    "confident inside": lambda found: found.inside,
    "confident outside": lambda found: found.outside,
    "distance mm": lambda found: found.distance,
    "missed components": lambda found: found.missed.count,
    "extra components": lambda found: found.extra.count,
    "predicted as": lambda found: found.other,
    "share predicted as": lambda found: found.other_share,
}
WHOLE = ("gain of shift", "gain of mirroring", "share swapped", "share beyond image")
BETWEEN = " | "


def csv_table(found: Suspects) -> str:
    """Return a line for each case, the most suspicious first.

    Returns:
        CSV with a header. ``classes`` are those that the reasons are about; a reason begins with its kind,
        ``shifted: label 2 (Posterior) is shifted by (0, 0, 3) voxels``; several are separated by `` | ``. A cell is
        empty where there is nothing to measure.
    """
    classes = list(foreground_classes(found.predictions.dataset.description))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*NAMES, *WHOLE, *(f"{name}: {column}" for name in classes for column in COLUMNS)])
    for case in found.cases:
        cells = [cell for name in classes for cell in _cells(case, name)]
        writer.writerow([*_head(case), *_whole(case), *cells])
    return stream.getvalue()


def suspect_classes(
    file: Path, cases: Collection[str], classes: Collection[str], threshold: float = THRESHOLD
) -> dict[str, tuple[str, ...]]:
    """Read the suspect cases of a table, and the classes that their reasons are about; a damaged file is about none.

    Args:
        file: What :func:`csv_table` returned; a user may have removed or added lines.
        cases: Names of the cases that exist.
        classes: Names of the classes.
        threshold: Suspicion from which on a case counts.

    Raises:
        UserError: The file has other columns, or names an unknown case or class.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(file, mark=True))))
    except (OSError, csv.Error) as error:
        raise UserError(f"{file}: expected the table of nnunet_ext suspect_labels, got {error}. Check it.") from error
    found: dict[str, tuple[str, ...]] = {}
    for number, row in enumerate(rows, 2):
        if not {"case", "suspicion", "classes"} <= row.keys():
            raise UserError(
                f"{file}: expected the columns case, suspicion and classes, as nnunet_ext suspect_labels writes them, "
                f"found {', '.join(map(str, row))[:100]}. Give its table."
            )
        if row["case"] not in cases:
            raise UserError(f"{file}, line {number}: unknown case {row['case']!r}. {nearest(str(row['case']), cases)}")
        named = tuple(filter(None, (row["classes"] or "").split(BETWEEN)))
        if wrong := [name for name in named if name not in classes]:
            raise UserError(f"{file}, line {number}: unknown class {wrong[0]!r}. {nearest(wrong[0], classes)}")
        if _number(row["suspicion"], file, number) >= threshold and (named or row.get("reasons")):
            found[row["case"]] = named
    return found


def _number(text: str | None, file: Path, line: int) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{file}, line {line}: expected a suspicion from 0 to 1, got {text!r}. Correct it.")
    return value


def _head(case: RankedCase) -> list[str]:
    reasons = BETWEEN.join(f"{reason.kind}: {reason.text}" for reason in case.reasons)
    name, fold = case.measures.name, str(case.measures.fold)
    return [name, f"{case.suspicion:.4f}", f"{case.rank:.4f}", fold, BETWEEN.join(case.classes), reasons]


def _whole(case: RankedCase) -> list[str]:
    gains = [
        max((repair.gain for repair in case.measures.repairs if repair.kind == kind), default=0.0)
        for kind in ("shifted", "mirrored", "swapped")
    ]
    return [f"{value:.4g}" for value in (*gains, case.measures.beyond)]


def _cells(case: RankedCase, name: str) -> Sequence[str]:
    measures: ClassMeasures | None = case.measures.classes.get(name)
    if measures is None:
        return [""] * len(COLUMNS)
    values = [case.dice_z.get(name) if value is None else value(measures) for value in COLUMNS.values()]
    return ["" if value is None else value if isinstance(value, str) else f"{value:.4g}" for value in values]
