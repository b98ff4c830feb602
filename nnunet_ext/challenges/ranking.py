"""Rankings of several teams by their tables, as KiTS21 and SegRap2023 make them."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from nnunet_ext.challenges.challenge import Challenge
from nnunet_ext.challenges.tables import AVERAGE
from nnunet_ext.errors import UserError
from nnunet_ext.files.text_file import read_text

Cases = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Ranked:
    """A team.

    Args:
        team: Its name.
        place: 1 is the best; equal teams share a place.
        numbers: What led to it, by name.
    """

    team: str
    place: int
    numbers: dict[str, float]


def rank(challenge: Challenge, tables: Mapping[str, Path]) -> list[Ranked]:
    """Rank teams.

    KiTS21: the teams are ranked by mean Dice and by mean surface Dice of the three classes; the mean of both ranks
    counts, and the tumor's Dice if it is equal. SegRap2023: they are ranked by the mean over cases of each structure
    and metric; the mean of all these ranks counts, divided by the number of teams. Equal numbers share the better
    rank.

    Args:
        challenge: ``kits21``, ``segrap2023_oar`` or ``segrap2023_gtv``.
        tables: By team the table that ``nnunet_ext evaluate`` wrote.

    Returns:
        The teams, the best first.

    Raises:
        UserError: A table is not of the challenge or has an empty cell, the teams have different cases, or the rule of
            the challenge is not known.
    """
    if challenge.name not in RULES:
        raise UserError(
            f"rank: expected {', '.join(RULES)}, found {challenge.name}: its rule is not known. Rank it by hand."
        )
    read = {team: read_table(file, challenge) for team, file in tables.items()}
    first = next(iter(read))
    for team, cases in read.items():
        if other := sorted(set(cases) ^ set(read[first])):
            raise UserError(
                f"{tables[team]}: expected the cases of {tables[first]}, found a difference in {other[0]!r}. Evaluate "
                f"all teams with the same --missing."
            )
    means = {
        team: {column: statistics.fmean(case[column] for case in cases.values()) for column in challenge.columns}
        for team, cases in read.items()
    }
    return RULES[challenge.name](challenge, means)


def read_table(file: Path, challenge: Challenge) -> Cases:
    """Read the cases of a table.

    Args:
        file: CSV.
        challenge: Its columns are expected.

    Raises:
        UserError: It cannot be read, has other columns, a cell without a number from 0 to 1, or no case.
    """
    try:
        rows = list(csv.reader(io.StringIO(read_text(file, mark=True))))
    except OSError as error:
        raise UserError(f"{file}: expected a table, got {error.strerror!r}. Check the path.") from error
    except csv.Error as error:
        raise UserError(f"{file}: expected a table, got another file ({error}). Write it with evaluate.") from error
    header = [challenge.case_column, *challenge.columns]
    if not rows or rows[0] != header:
        found = ",".join(rows[0]) if rows else "nothing"
        raise UserError(f"{file}: expected the columns {','.join(header)}, found {found}. Write it with evaluate.")
    cases: Cases = {}
    for row in rows[1:]:
        if row and row[0] != AVERAGE:
            if row[0] in cases or len(row) != len(header):
                raise UserError(
                    f"{file}: expected each case once and whole, found otherwise in {row[0]!r}. Correct it."
                )
            cases[row[0]] = {
                column: _number(file, row[0], text) for column, text in zip(header[1:], row[1:], strict=True)
            }
    if not cases:
        raise UserError(f"{file}: expected a row for each case, found none. Write it with evaluate.")
    return cases


def _number(file: Path, case: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:  # as all metrics of these challenges
        raise UserError(
            f"{file}: expected numbers from 0 to 1, found {text!r} for {case!r}. Evaluate all cases, and write no "
            f"percentages."
        )
    return number


def _kits21(challenge: Challenge, means: Mapping[str, Mapping[str, float]]) -> list[Ranked]:
    by_kind = {
        f"mean {kind}": [
            statistics.fmean(row[column] for column in challenge.columns if column.startswith(f"{kind}_"))
            for row in means.values()
        ]
        for kind in ("Dice", "SD")
    }
    ranks = {f"rank by {name}": _ranks(values) for name, values in by_kind.items()}
    mean_rank = [statistics.fmean(each) for each in zip(*ranks.values(), strict=True)]
    tumor = [row["Dice_tumor"] for row in means.values()]
    numbers = {**by_kind, **ranks, "mean rank": mean_rank, "Dice_tumor": tumor}
    return _placed(list(means), numbers, [(rank, -dice) for rank, dice in zip(mean_rank, tumor, strict=True)])


def _segrap2023(challenge: Challenge, means: Mapping[str, Mapping[str, float]]) -> list[Ranked]:
    ranks = [_ranks([row[column] for row in means.values()]) for column in challenge.columns]
    mean_rank = [statistics.fmean(each) / len(means) for each in zip(*ranks, strict=True)]
    by_kind = {
        f"mean {kind}": [
            statistics.fmean(value for column, value in row.items() if column.endswith(f"_{kind}"))
            for row in means.values()
        ]
        for kind in ("DSC", "NSD")
    }
    numbers = {**by_kind, "mean rank / teams": mean_rank}
    return _placed(list(means), numbers, [(each,) for each in mean_rank])


def _ranks(values: Sequence[float]) -> list[float]:
    """1 for the largest; equal values share the better rank."""
    return [float(each) for each in rankdata(-np.asarray(values), method="min")]


def _placed(
    teams: Sequence[str], numbers: Mapping[str, Sequence[float]], keys: Sequence[tuple[float, ...]]
) -> list[Ranked]:
    found = [
        Ranked(
            team, 1 + sum(other < keys[index] for other in keys), {name: each[index] for name, each in numbers.items()}
        )
        for index, team in enumerate(teams)
    ]
    return sorted(found, key=lambda each: each.place)


RULES: dict[str, Callable[[Challenge, Mapping[str, Mapping[str, float]]], list[Ranked]]] = {
    "kits21": _kits21,
    "segrap2023_oar": _segrap2023,
    "segrap2023_gtv": _segrap2023,
}
