"""``nnunet_ext variant``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import ClassVar

from nnunet_ext.cli.common.command import Command
from nnunet_ext.comparison.variants import write_variant


@dataclass
class Variant(Command):
    """Write a second plans file with other knobs for the same preprocessed data.

    Runs that differ in a knob then have separate results folders:
    nnunet_ext variant -d 4 -p LitePlans --as LitePlansWide --set ba_net.boundary_width=5
    """

    name: ClassVar[str] = "variant"

    d: str
    p: str
    new_name: str
    set: list[str]

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="dataset, number or name")
        add("-p", required=True, help="name of the plans to start from")
        add("--as", dest="new_name", metavar="NAME", required=True, help="name of the new plans")
        add("--set", nargs="+", action="extend", required=True, metavar="KEY=VALUE", help="knobs of the new plans")

    def run(self) -> int:
        """Write the plans file."""
        file = write_variant(self.d, self.p, self.new_name, self.set)
        print(f"{file} written. Train with -p {self.new_name}")
        return 0
