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
    """

    name: ClassVar[str] = "hide_labels"

    d: str
    o: int
    n: str | None = None
    keep: int | None = None
    seed: int | None = None
    labelled: Path | None = None
    test: Path | None = None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="labelled dataset, number or name")
        add("-o", type=options.whole(1, 999), required=True, help="number of the new dataset, 1 to 999")
        add("-n", help="name of the new dataset [that of the labelled one]")
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--keep", type=options.whole(1), metavar="K", help="K cases chosen at random stay labelled")
        which.add_argument("--labelled", type=Path, metavar="FILE", help="these stay labelled, one per line")
        add("--seed", type=int, help="seed of the choice with --keep [0]")
        add("--test", type=Path, metavar="FILE", help="file of cases to set apart: neither labelled nor unlabelled")

    def run(self) -> int:
        """Choose the cases and write dataset.json."""
        from nnunet_ext.data.case_list import read_case_list
        from nnunet_ext.data.raw_dataset import RawDataset
        from nnunet_ext.semi_supervised.hidden_labels import choose_labelled, hide_labels

        source = RawDataset.read(folders.dataset("nnUNet_raw", self.d))
        place = self._place(source.folder)
        known = {case.name for case in source.cases()}
        test = () if self.test is None else read_case_list(self.test, known, source.folder.name, "--test")
        if self.keep is not None:
            labelled = choose_labelled(known - set(test), self.keep, self.seed or 0)
        else:
            assert self.labelled is not None  # argparse requires one of the two
            labelled = read_case_list(self.labelled, known, source.folder.name, "--labelled")
        with numbers_to_oneself(place.parent):
            self._place(source.folder)  # its number may have been taken meanwhile
            counts = hide_labels(source, place, labelled, test)
        print(f"{place / 'dataset.json'}: {', '.join(f'{number} {kind}' for kind, number in counts.items())}")
        print(f"Next: nnunet_ext plan_and_preprocess -d {self.o}")
        return 0

    def _place(self, source: Path) -> Path:
        """The new dataset's folder."""
        from nnunet_ext.collection.manifest import check_dataset_name
        from nnunet_ext.stock.folders import Folders

        if not 1 <= self.o <= 999:
            raise UserError(f"-o {self.o}: expected a number from 1 to 999, got {self.o}. Choose a free one.")
        if self.seed is not None and (self.keep is None or self.seed < 0):
            raise UserError(
                f"--seed {self.seed}: expected a number from 0 up beside --keep. Correct it or leave it out."
            )
        raw = folders.folder("nnUNet_raw", writable=True)
        name = f"Dataset{self.o:03d}_{self.n or source.name[11:]}"
        check_dataset_name(name, raw / name)
        others = (folders.if_there(variable) for variable in ("nnUNet_preprocessed", "nnUNet_results"))
        Folders(raw, *others).check_number(name, "-o")
        return raw / name
