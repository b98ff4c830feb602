"""``nnunet_ext predict --adapt``."""

from __future__ import annotations

import argparse
import csv
import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.cli.common import options
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import write_text
from nnunet_ext.files.text_file import read_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnunet_ext.cli.predictions.predict import Predict
    from nnunet_ext.prediction.cases import CaseResult
    from nnunet_ext.prediction.predictor import Predictor

REPORT = "adaptation.csv"
HEADER = ("case", "used", "agreement", "time factor")


def add_adapt_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    text = "adapt norms to each case; where labels change much, they stay as without it (ours)"
    parser.add_argument("--adapt", choices=("grata",), help=text)
    parser.add_argument(
        "--adapt_steps", type=options.whole(1), metavar="N", help="with --adapt: steps for a case (ours)"
    )


def check_adapt(command: Predict, reason_for_stock: str | None) -> None:
    """Refuse adaptation where nnU-Net predicts, and its options without it.

    Args:
        command: The options.
        reason_for_stock: Why nnU-Net predicts; None: it does not.

    Raises:
        UserError: It cannot adapt.
    """
    if command.adapt is None:
        if command.adapt_steps is not None:
            raise UserError("--adapt_steps: expected --adapt grata beside it, found none. Add it, or leave this out.")
    elif reason_for_stock is not None:
        raise UserError(
            f"--adapt: expected what nnunet_ext predicts, found what is left to nnU-Net: {reason_for_stock}. Leave out "
            f"one of both."
        )


def predictor_for(command: Predict) -> Callable[..., Predictor]:
    """Return what makes the predictor: the plain one, or one that adapts."""
    from nnunet_ext import prediction

    if command.adapt is None:
        return prediction.Predictor
    from nnunet_ext.adaptation.adapted_predictor import AdaptedPredictor
    from nnunet_ext.adaptation.adapted_stages import STEPS

    return functools.partial(AdaptedPredictor, steps=command.adapt_steps or STEPS)


def report_adaptation(results: Sequence[CaseResult], command: Predict) -> None:
    """Write what was used for each case, and print what it cost; without ``--adapt``, drop the cases' earlier rows."""
    done = [result for result in results if result.problem is None]
    rows = [[result.name, *(result.facts[name] for name in HEADER[1:])] for result in done if result.facts]
    name = REPORT if command.num_parts == 1 else f"adaptation_{command.part_id}.csv"
    file = Path(str(command.o)) / name
    earlier = list(csv.reader(io.StringIO(read_text(file))))[1:] if file.is_file() else []
    new = {result.name for result in done}
    kept = [row for row in earlier if row and row[0] not in new]  # --continue_prediction, or other images
    if rows or kept:
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([HEADER, *sorted(kept + rows)])
        write_text(file, stream.getvalue())
    else:
        file.unlink(missing_ok=True)
    if rows:
        used = sum(row[1] == "adapted" for row in rows)
        factor = sum(float(row[-1]) for row in rows) / len(rows)
        print(
            f"adaptation: used for {used} of {len(rows)} case{'s' * (len(rows) != 1)}, {factor:.1f} times the time of "
            f"a plain prediction; {file} written"
        )
