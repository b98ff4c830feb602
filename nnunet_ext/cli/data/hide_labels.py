"""``nnunet_ext hide_labels``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.errors import UserError
from nnunet_ext.stock import folders
from nnunet_ext.stock.folders import numbers_to_oneself


@dataclass
class HideLabels(Command):
    """Make a dataset with few labels from a labelled one, for experiments.

    The other cases become unlabelled images. No image is copied; the hidden labels are kept for scoring only:
    nnunet_ext hide_labels -d 20 -o 120 --keep 8 --seed 0
    nnunet_ext hide_labels -d 20 -o 120 --labelled eight.txt --test sixteen.txt
    nnunet_ext hide_labels -d 20 -o 124 --every_slice 4 --test sixteen.txt
    """

    name: ClassVar[str] = "hide_labels"

    d: str
    o: int
    n: str | None = None
    keep: int | None = None
    seed: int | None = None
    labelled: Path | None = None
    test: Path | None = None
    every_slice: int | None = None
    axis: int | None = None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="labelled dataset, number or name")
        add("-o", type=options.whole(1, 999), required=True, help="number of the new dataset, 1 to 999")
        add("-n", help="name of the new dataset [that of the labelled one]")
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--keep", type=options.whole(1), metavar="K", help="K cases chosen at random stay labelled")
        which.add_argument("--labelled", type=Path, metavar="FILE", help="these stay labelled, one per line")
        add("--seed", type=int, help="seed of the choice with --keep [0]")
        add("--test", type=Path, metavar="FILE", help="file of cases to set apart: neither labelled nor unlabelled")
        add(
            "--every_slice",
            type=options.whole(2),
            metavar="K",
            help="of labelled cases only slices 0, K, 2K ... and the last one stay labelled, the others are ignored",
        )
        add("--axis", type=int, choices=(0, 1, 2), help="axis of --every_slice, in the order of nnU-Net's spacings [0]")

    def run(self) -> int:
        """Choose the cases and write dataset.json."""
        from nnunet_ext.data.case_list import read_case_list
        from nnunet_ext.data.raw_dataset import RawDataset
        from nnunet_ext.semi_supervised.hidden_labels import choose_labelled, hide_labels
        from nnunet_ext.semi_supervised.hidden_slices import KeptSlices

        source = RawDataset.read(folders.dataset("nnUNet_raw", self.d))
        place = self._place(source.folder)
        known = {case.name for case in source.cases()}
        test = () if self.test is None else read_case_list(self.test, known, source.folder.name, "--test")
        if self.keep is not None:
            labelled = choose_labelled(known - set(test), self.keep, self.seed or 0)
        elif self.labelled is not None:
            labelled = read_case_list(self.labelled, known, source.folder.name, "--labelled")
        else:
            labelled = tuple(known - set(test))
        slices = None if self.every_slice is None else KeptSlices(self.every_slice, self.axis or 0)
        with numbers_to_oneself(place.parent):
            self._place(source.folder)  # its number may have been taken meanwhile
            counts = hide_labels(source, place, labelled, test, slices)
        print(f"{place / 'dataset.json'}: {', '.join(f'{number} {kind}' for kind, number in counts.items())}")
        print(f"Next: nnunet_ext plan_and_preprocess -d {self.o}")
        return 0

    def _place(self, source: Path) -> Path:
        """The new dataset's folder."""
        from nnunet_ext.cli.data.new_dataset import new_dataset_place

        if self.every_slice is None and (self.axis is not None or (self.keep is None and self.labelled is None)):
            what = "--every_slice beside --axis" if self.axis is not None else "--keep, --labelled or --every_slice"
            raise UserError(f"hide_labels: expected {what}, found none. Add it.")
        if self.seed is not None and (self.keep is None or self.seed < 0):
            raise UserError(
                f"--seed {self.seed}: expected a number from 0 up beside --keep. Correct it or leave it out."
            )
        return new_dataset_place(self.o, self.n, source)
