"""The cases as CSV, for scripts and spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from nnunet_ext.quality.case_quality import CaseQuality, suspicious_first
from nnunet_ext.quality.reason import Reason


def csv_table(cases: Sequence[CaseQuality]) -> str:
    """Return a line for each case, suspicious ones first: case, suspicion, reasons, size of each class.

    Args:
        cases: In any order.

    Returns:
        CSV with a header. A reason begins with its kind, ``volume: left kidney: 12 ml, ...``; several are separated by
        `` | ``. A size is empty where the prediction could not be read.
    """
    ordered = suspicious_first(list(cases))
    classes = list(dict.fromkeys(name for case in ordered for name in case.sizes))
    unit = next((case.unit for case in ordered if case.sizes), "ml")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", "suspicion", "reasons", *(f"size of {name}, {unit}" for name in classes)])
    for case in ordered:
        reasons = " | ".join(map(_words, case.strongest_first()))
        sizes = [f"{case.sizes[name]:.6g}" if name in case.sizes else "" for name in classes]
        writer.writerow([case.name, f"{case.suspicion:.4f}", reasons, *sizes])
    return stream.getvalue()


def _words(reason: Reason) -> str:
    return f"{reason.kind}: {reason.text}"
