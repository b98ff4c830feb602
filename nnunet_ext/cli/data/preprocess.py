"""``nnunet_ext preprocess``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nnunet_ext.cli.common.command import Command
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.data.check_record import CheckRecord
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.processes.cores import usable_cores
from nnunet_ext.processes.run_lock import run_lock
from nnunet_ext.stock import folders

DEFAULT_CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres")  # as nnU-Net; those that were planned
DEFAULT_PROCESSES = 4
STOCK_RESAMPLING = "resample with nnU-Net's functions: the same results, but slower [with ours, if they fit]"


@dataclass
class Preprocess(Command):
    """Preprocess what is missing of a dataset with existing plans, nnU-Net's or ours.

    Cases that are new, changed or left out by an interruption are preprocessed; cases that are gone are removed; if the
    data were made with other plans, all cases are preprocessed again:
    nnunet_ext preprocess -d 4 -p nnUNetPlans -c 3d_fullres
    """

    name: ClassVar[str] = "preprocess"
    has_workers: ClassVar[bool] = True

    d: str
    p: str
    c: list[str] | None = None
    np: int | None = None
    clean: bool = False
    verbose: bool = False
    no_pbar: bool = False
    no_check: bool = False
    stock_resampling: bool = False

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="dataset, number or name")
        add("-p", required=True, help="name of its plans, nnU-Net's or ours")
        add("-c", nargs="+", help=f"configurations [those planned of {', '.join(DEFAULT_CONFIGURATIONS)}]")
        add("-np", type=int, help=f"processes [{DEFAULT_PROCESSES}, at most one for each core]")
        add("--clean", action="store_true", help="also preprocess existing data")
        add("--verbose", action="store_true", help="let nnU-Net print more")
        add("--no_pbar", action="store_true", help="no progress bars")
        add("--no_check", action="store_true", help="skip reading new and changed images and labels first")
        add("--stock_resampling", action="store_true", help=STOCK_RESAMPLING)

    def run(self) -> int:
        """Preprocess what is missing of each configuration."""
        if self.np is not None and self.np < 1:
            raise UserError(f"-np {self.np}: expected at least 1 process. Leave it out or raise it.")
        plans = folders.plans(self.d, self.p)
        table = TaskTable.read(plans)
        if table is not None and table.bound is None:
            number, planner = dataset_number(table.collection), plans["experiment_planner_used"]
            raise UserError(
                f"-p {self.p}: expected plans of a dataset, got those of the collection {table.collection}. Run "
                f"nnunet_ext plan_and_preprocess -d {number} -pl {planner}"
            )
        planned = plans["configurations"]
        for name in self.c or ():
            if name not in planned:
                raise UserError(f"-c {name}: not in plans {self.p!r}. {nearest(name, planned)}")
        names = self.c or [name for name in DEFAULT_CONFIGURATIONS if name in planned]
        processes = self.np or min(DEFAULT_PROCESSES, usable_cores())
        folder, of_each = folders.dataset("nnUNet_preprocessed", self.d), dict.fromkeys(names, processes)
        folders.check_writable(folder, str(folder))
        options = {"verbose": self.verbose, "progress": not self.no_pbar, "stock_resampling": self.stock_resampling}
        checked = None if self.no_check else self._check(folder, plans)
        with run_lock(folder, "preprocessing", say=print):
            if checked is not None:
                CheckRecord(folder).write(checked.description, checked.cases())
            preprocess_configurations(self.d, plans, of_each, again=self.clean, **options)
        return 0

    def _check(self, folder: Path, plans: Mapping[str, Any]) -> RawDataset:
        """Check what has changed since the last check that passed."""
        from nnunet_ext.data.dataset_check import check_dataset

        raw, record = folders.dataset("nnUNet_raw", self.d), None if self.clean else CheckRecord(folder)
        return check_dataset(raw, record=record, plans=plans, show_progress=not self.no_pbar)


def preprocess_configurations(
    dataset: str | int,
    plans: Mapping[str, Any],
    processes: Mapping[str, int],
    *,
    again: bool,
    verbose: bool,
    progress: bool,
    stock_resampling: bool,
) -> None:
    """Preprocess what is missing of a dataset.

    Args:
        dataset: Its number or name.
        plans: Its plans.
        processes: Worker processes by name of the configuration.
        again: Also preprocess existing data.
        verbose: nnU-Net's.
        progress: Show progress bars.
        stock_resampling: Resample with nnU-Net's functions.
    """
    from nnunet_ext.data.preprocessed.preprocessing import preprocess_missing
    from nnunet_ext.data.preprocessed.state import PreprocessedState

    raw, folder = folders.dataset("nnUNet_raw", dataset), folders.dataset("nnUNet_preprocessed", dataset)
    done: list[Path] = []
    for name, workers in processes.items():
        state = PreprocessedState(folder, plans, name, raw)
        if state.place in done and again:  # the second stage of a cascade shares the first one's data
            continue
        done.append(state.place)
        number = preprocess_missing(
            state,
            processes=workers,
            again=again,
            verbose=verbose,
            progress=progress,
            stock_resampling=stock_resampling,
            say=print,
        )
        print(f"{name}: {f'{number} cases' if number else 'already preprocessed (--clean repeats it)'}")
