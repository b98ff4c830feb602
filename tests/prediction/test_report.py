"""The table that a prediction ends with."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext.prediction.cases import STAGES, CaseResult
from nnunet_ext.prediction.report import report_rows


def result(name: str, *seconds: float, **options: int | str) -> CaseResult:
    return CaseResult(name, Path(name), dict(zip(STAGES, seconds, strict=False)), **options)


def test_rows():
    results = [
        result("a", 1, 2, 3, 0.5, memory=2**30),
        result("broken", 1, 1, problem="it is damaged"),
        result("b", 0.25, 0, 0, 1, memory=3 * 2**29),
    ]
    assert report_rows(results) == [
        ["case", "reading, s", "resampling, s", "network, s", "export, s", "peak memory, GiB"],
        ["a", "1.00", "2.00", "3.00", "0.50", "1.00"],
        ["b", "0.25", "0.00", "0.00", "1.00", "1.50"],
        ["all", "1.25", "2.00", "3.00", "1.50", "1.50"],
    ]


def test_a_gpu_and_a_system_that_counts_no_memory():
    rows = report_rows([result("a", 1, 2, 3, 4, gpu_memory=2**31)])
    assert rows[0][5:] == ["peak GPU memory, GiB"]
    assert rows[2] == ["all", "1.00", "2.00", "3.00", "4.00", "2.00"]
    assert len(report_rows([result("a", 1, 2, 3, 4)])[0]) == 5
