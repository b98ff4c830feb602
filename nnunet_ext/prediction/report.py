"""The table that a prediction ends with."""

from __future__ import annotations

from collections.abc import Sequence

from nnunet_ext.prediction.cases import STAGES, CaseResult

GIB = 2**30


def report_rows(results: Sequence[CaseResult]) -> list[list[str]]:
    """Return the seconds of each stage for each predicted case and for all, and the peak memory.

    Args:
        results: Of all cases; those that failed are left out.

    Returns:
        Rows of words, the header first. The memory beside a case is the most that the process had used by then, in GiB.
    """
    done = [result for result in results if result.problem is None]
    peaks = {"memory": [result.memory for result in done], "GPU memory": [result.gpu_memory for result in done]}
    shown = {name: values for name, values in peaks.items() if any(value is not None for value in values)}
    rows = [["case", *(f"{stage}, s" for stage in STAGES), *(f"peak {name}, GiB" for name in shown)]]
    for number, result in enumerate(done):
        memory = [_gib(values[number]) for values in shown.values()]
        rows.append([result.name, *(f"{result.seconds[stage]:.2f}" for stage in STAGES), *memory])
    total = [f"{sum(result.seconds[stage] for result in done):.2f}" for stage in STAGES]
    rows.append(["all", *total, *(_gib(max(filter(None, values), default=None)) for values in shown.values())])
    return rows


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / GIB:.2f}"
