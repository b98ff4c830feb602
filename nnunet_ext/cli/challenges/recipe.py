"""``nnunet_ext recipe``."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import ClassVar

from nnunet_ext.challenges.recipes import CONFIGURATION, OF_CONFIGURATION, RECIPES, Recipe, recipe
from nnunet_ext.cli.common.command import Command
from nnunet_ext.comparison.variants import write_variant
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.markdown_table import markdown_table


@dataclass
class ShowRecipe(Command):
    """Show what teams of a challenge are known to have set, or write it into plans over the same preprocessed data.

    nnunet_ext recipe segrap2023_gtv
    nnunet_ext recipe segrap2023_gtv --team astarakee -d 24 -p nnUNetPlans --as Winner
    """

    name: ClassVar[str] = "recipe"

    challenge: str
    team: str | None
    d: str | None
    p: str | None
    new_name: str | None
    keep_patch: bool

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("challenge", choices=list(RECIPES), help="whose teams")
        add("--team", help="one team; when plans are written, by default the first")
        add("-d", help="dataset, number or name")
        add("-p", help="name of the plans to start from")
        add("--as", dest="new_name", metavar="NAME", help="name of the new plans")
        add("--keep_patch", action="store_true", help="leave patch and batch size as planned")

    def run(self) -> int:
        """Print the settings, and write those that plans can have."""
        teams = RECIPES[self.challenge] if self.team is None else (recipe(self.challenge, self.team),)
        wanted = {"-d": self.d, "-p": self.p, "--as": self.new_name}
        missing = [flag for flag, word in wanted.items() if word is None]
        if len(missing) == len(wanted):
            for each in teams:
                print(f"{each.team}: {each.result}\n\n{_table(each)}\n")
            return 0
        if missing:
            raise UserError(f"recipe: expected -d, -p and --as to write plans, found no {', '.join(missing)}. Add it.")
        chosen = recipe(self.challenge, self.team)
        entries = {} if self.keep_patch else chosen.configuration
        if not chosen.knobs and not entries:
            raise UserError(
                f"recipe {self.challenge}: expected a team with settings of plans, found {chosen.team}, whose settings "
                f"are commands. Run nnunet_ext recipe {self.challenge} to see them."
            )
        settings = [f"{name}={json.dumps(value)}" for name, value in chosen.knobs.items()]
        configurations = {CONFIGURATION: entries} if entries else {}
        file = write_variant(str(self.d), str(self.p), str(self.new_name), settings, configurations)
        print(f"{chosen.team}: {chosen.result}\n\n{_table(chosen)}\n")
        train = f"-tr NNUNetBaselineTrainer -p {self.new_name}"  # stock trainers know no knobs
        print(f"{file} written. Train with {train}; what has a command is not in the plans")
        return 0


def _table(chosen: Recipe) -> str:
    rows = [["setting", "value", "how", "source"]]
    for each in chosen.settings:
        how = each.command or (f"plans, {CONFIGURATION}" if each.name in OF_CONFIGURATION else "knob")
        rows.append(
            [each.name, each.value if isinstance(each.value, str) else json.dumps(each.value), how, each.source]
        )
    return markdown_table(rows)
