"""What a prediction prints when it ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnunet_ext.prediction.cases import CaseResult


def case_report(results: Sequence[CaseResult], output: str) -> int:
    """Print what was predicted, and what was not; return the exit code, 1 if a case failed.

    Args:
        results: Of all cases.
        output: Where they were written, for the message.
    """
    from nnunet_ext.evaluation.markdown_table import markdown_table
    from nnunet_ext.prediction.report import report_rows

    failed = [result for result in results if result.problem is not None]
    if len(failed) < len(results):
        print(markdown_table(report_rows(results)))
    done = len(results) - len(failed)
    print(f"{done} case{'s' * (done != 1)} predicted in {output}")
    if not failed:
        return 0
    print(f"{len(failed)} case{'s' * (len(failed) > 1)} not predicted:", file=sys.stderr)
    for result in failed:
        print(f"{result.name}: {result.problem}", file=sys.stderr)
    return 1
