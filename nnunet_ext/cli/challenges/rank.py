"""``nnunet_ext rank``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.errors import UserError

CHALLENGES = ("kits21", "segrap2023_oar", "segrap2023_gtv")


@dataclass
class Rank(Command):
    """Rank several teams, or models, by their tables of nnunet_ext evaluate, as a challenge does.

    nnunet_ext rank kits21 ours=ours/evaluation_samples.csv baseline=baseline/evaluation_samples.csv
    """

    name: ClassVar[str] = "rank"

    challenge: str
    tables: list[str]

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("challenge", choices=CHALLENGES, help="whose rule")
        parser.add_argument("tables", nargs="+", metavar="TEAM=TABLE", help="table of nnunet_ext evaluate")

    def run(self) -> int:
        """Print the teams, the best first."""
        from nnunet_ext.challenges.official import official
        from nnunet_ext.challenges.ranking import rank
        from nnunet_ext.evaluation.markdown_table import markdown_table

        tables = {team: Path(file) for team, file in options.pairs("rank", self.tables).items()}
        if len(tables) < 2:
            raise UserError("rank: expected the tables of at least two teams, found one. Add another: TEAM=TABLE.")
        teams = rank(official(self.challenge), tables)
        rows = [[str(each.place), each.team, *(f"{value:.4f}" for value in each.numbers.values())] for each in teams]
        print(markdown_table([["place", "team", *teams[0].numbers], *rows]))
        return 0
