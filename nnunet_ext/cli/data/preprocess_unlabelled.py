"""``nnunet_ext preprocess_unlabelled``."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.data.preprocess import STOCK_RESAMPLING
from nnunet_ext.cli.planning import plan_collection
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.processes.cores import usable_cores
from nnunet_ext.processes.run_lock import run_lock
from nnunet_ext.stock import folders

DEFAULT_CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres")  # as nnU-Net; those that were planned
DEFAULT_PROCESSES = 4


@dataclass
class PreprocessUnlabelled(Command):
    """Preprocess the unlabelled images of a dataset (imagesUn), or of a collection's members, with existing plans.

    Only what is missing is preprocessed, so an interrupted run resumes where it stopped:
    nnunet_ext preprocess_unlabelled -d 7 -p nnUNetPlans -c 3d_fullres
    """

    name: ClassVar[str] = "preprocess_unlabelled"
    has_workers: ClassVar[bool] = True
    purpose: ClassVar[str] = "preprocessing unlabelled images"  # of its lock

    d: str
    p: str
    c: list[str] | None = None
    np: int | None = None
    clean: bool = False
    no_pbar: bool = False
    stock_resampling: bool = False

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="dataset, number or name")
        add("-p", required=True, help="name of its plans, nnU-Net's or ours")
        add("-c", nargs="+", help=f"configurations [those planned of {', '.join(DEFAULT_CONFIGURATIONS)}]")
        add("-np", type=options.whole(1), help=f"processes [{DEFAULT_PROCESSES}, at most one for each core]")
        add("--clean", action="store_true", help="also preprocess existing data")
        add("--no_pbar", action="store_true", help="no progress bars")
        add("--stock_resampling", action="store_true", help=STOCK_RESAMPLING)

    def run(self) -> int:
        """Check the images that are missing, then preprocess them."""
        raw, plans = folders.dataset("nnUNet_raw", self.d), folders.plans(self.d, self.p)
        table = TaskTable.read(plans)
        if table is not None and table.bound is None:
            return self._preprocess_members(table, plans)
        folder = folders.dataset("nnUNet_preprocessed", self.d)
        folders.check_writable(folder, str(folder))
        with run_lock(folder, self.purpose, say=print):
            return self._preprocess(raw, folder, plans)

    def _preprocess(self, raw: Path, folder: Path, plans: dict[str, Any]) -> int:
        from nnunet_ext.semi_supervised.preprocessed_images import UnlabelledData
        from nnunet_ext.semi_supervised.preprocessing import check_unlabelled, preprocess_unlabelled, unlabelled_folder

        configurations = []
        for name in self._configurations(plans):
            if UnlabelledData(folder, plans, name).is_cascade:
                print(f"{name}: skipped, the second stage of a cascade takes no unlabelled images")
            else:
                configurations.append(name)
        preprocess_unlabelled(
            raw,
            folder,
            plans,
            *configurations,
            processes=self.np or min(DEFAULT_PROCESSES, usable_cores()),
            progress=not self.no_pbar,
            again=self.clean,
            stock_resampling=self.stock_resampling,
            say=print,
        )
        for name in configurations:
            number = len(check_unlabelled(folder, plans, name))
            print(f"{unlabelled_folder(folder, plans, name)}: {number} unlabelled case{'s' * (number > 1)}")
        return 0

    def _preprocess_members(self, table: TaskTable, plans: dict[str, Any]) -> int:
        from nnunet_ext.semi_supervised.raw_images import has_unlabelled

        self._configurations(plans)
        if not any(has_unlabelled(folders.folder("nnUNet_raw") / task.dataset) for task in table.tasks):
            raise UserError(
                f"{table.collection}: expected a member with unlabelled images (imagesUn), found none. Put them beside "
                f"imagesTr of a member."
            )
        with contextlib.ExitStack() as locks:
            for task in table.tasks:
                folder = folders.dataset("nnUNet_preprocessed", task.dataset)
                folders.check_writable(folder, str(folder))
                locks.enter_context(run_lock(folder, "preprocessing unlabelled images", say=print))
            plan_collection.preprocess_unlabelled_of_members(
                table,
                plans["plans_name"],
                self.np or min(DEFAULT_PROCESSES, usable_cores()),
                again=self.clean,
                progress=not self.no_pbar,
                stock_resampling=self.stock_resampling,
            )
        return 0

    def _configurations(self, plans: dict[str, Any]) -> list[str]:
        planned = plans["configurations"]
        for name in self.c or ():
            if name not in planned:
                raise UserError(f"-c {name}: not in plans {self.p!r}. {nearest(name, planned)}")
        return self.c or [name for name in DEFAULT_CONFIGURATIONS if name in planned]
