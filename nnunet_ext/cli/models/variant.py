"""``nnunet_ext variant``."""

from __future__ import annotations

import argparse
import contextlib
import re
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nnunet_ext.cli.common.command import Command
from nnunet_ext.collection.task_table import TaskTable, member_plans_name
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import write_json
from nnunet_ext.stock import folders

TAKEN = ("dataset", "dataset_fingerprint", "splits_final")  # nnU-Net's other files in that folder


@dataclass
class Variant(Command):
    """Write a second plans file with other knobs over the same preprocessed data.

    Runs that differ in a knob then have results folders of their own:
    nnunet_ext variant -d 4 -p LitePlans --as LitePlans_wide --set ba_net.boundary_width=5
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
        add("-d", required=True, help="data set, number or name")
        add("-p", required=True, help="name of the plans to start from")
        add("--as", dest="new_name", metavar="NAME", required=True, help="name of the new plans")
        add("--set", nargs="+", action="extend", required=True, metavar="KEY=VALUE", help="knobs of the new plans")

    def run(self) -> int:
        """Write the plans file."""
        from nnunet_ext.base import knobs

        block = knobs.parse(self.set)
        check_name(self.new_name)
        if self.new_name == self.p:
            raise UserError(f"--as {self.new_name}: expected another name than -p, got the same. Choose a new one.")
        plans = deepcopy(folders.plans(self.d, self.p))
        knobs.put(plans, block)
        plans["plans_name"] = self.new_name
        for configuration in plans["configurations"]:
            _check_effect(block, knobs.resolve(plans, configuration), configuration)
        file = folders.dataset("nnUNet_preprocessed", self.d) / f"{self.new_name}.json"
        variants = self._of_members(block) | {file: plans}  # the collection's last: its members' are there then
        for each, content in variants.items():
            check_new(each, content)
        for each, content in variants.items():
            write_new(each, content)
        print(f"{file} written. Train with -p {self.new_name}")
        return 0

    def _of_members(self, block: dict[str, Any]) -> dict[Path, dict[str, Any]]:
        """Return the variants of a collection's members, which are trained with the same knobs, by their files."""
        from nnunet_ext.base import knobs

        table = TaskTable.read(folders.plans(self.d, self.p))
        if table is None or table.bound is not None:
            return {}
        variants = {}
        for task in table.tasks:
            plans = deepcopy(folders.plans(task.dataset, member_plans_name(self.p, table.collection)))
            knobs.put(plans, block)
            plans["plans_name"] = member_plans_name(self.new_name, table.collection)
            variants[folders.dataset("nnUNet_preprocessed", task.dataset) / f"{plans['plans_name']}.json"] = plans
        return variants


def check_name(name: str) -> None:
    """Refuse a name that cannot name plans: it becomes a file's and part of a folder's, split at ``__``.

    Raises:
        UserError: The name is not fit.
    """
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,98}[A-Za-z0-9])?", name) or "__" in name or name in TAKEN:
        raise UserError(
            f"--as {name!r}: expected letters, digits, single _, - and . between them, at most 100, and none of "
            f"{', '.join(TAKEN)}. Choose another name."
        )


def check_new(file: Path, plans: dict[str, Any]) -> None:
    """Refuse to overwrite plans; the same ones are fine.

    Raises:
        UserError: Different plans of that name are there.
    """
    if file.exists() and folders.read_json(file) != plans:
        raise UserError(
            f"{file}: expected no plans of that name, found different ones. Choose another name after --as."
        )


def write_new(file: Path, plans: dict[str, Any]) -> None:
    """Write plans whole or not at all.

    Raises:
        UserError: A different file of that name is there, or the folder cannot be written.
    """
    if not file.exists():
        with contextlib.suppress(FileExistsError):  # another process wrote it in this instant
            write_json(file, plans, new=True)
    check_new(file, plans)


def _check_effect(block: dict[str, Any], resolved: dict[str, Any], configuration: str) -> None:
    """Refuse a knob that the configuration's own block, which wins, keeps at another value."""
    for key, value in block.items():
        wanted = {(key, name): inner for name, inner in value.items()} if isinstance(value, dict) else {(key,): value}
        for path, setting in wanted.items():
            kept = resolved[path[0]][path[1]] if len(path) == 2 else resolved[key]
            if kept != setting:
                raise UserError(
                    f"--set {'.'.join(path)}={setting!r}: expected to take effect, but configuration "
                    f"{configuration!r} has a block of its own that keeps {kept!r}. Remove it there first."
                )
