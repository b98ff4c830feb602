"""``nnunet_ext fuse_raters``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import ClassVar

from nnunet_ext.cli.common.command import Command
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.stock import folders


@dataclass
class FuseRaters(Command):
    """Make labelsTr of the maps of several raters (labelsTr_raters/RATER), for a dataset that has none.

    nnU-Net needs one label for each case. An existing labelsTr is never overwritten:
    nnunet_ext fuse_raters -d 7 --by majority
    """

    name: ClassVar[str] = "fuse_raters"

    d: str
    by: str = "majority"
    no_pbar: bool = False

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="dataset, number or name")
        add("--by", choices=("majority", "staple"), default=cls.by, help="how [%(default)s]")
        add("--no_pbar", action="store_true", help="no progress bars")

    def run(self) -> int:
        """Check the maps and write the labels."""
        from nnunet_ext.labels.raters.fused_labels import LABELS, write_fused_labels

        raw = folders.dataset("nnUNet_raw", self.d)
        folders.check_writable(raw, str(raw))
        cases = write_fused_labels(raw, self.by, progress=not self.no_pbar)
        print(f"{raw / LABELS}: {len(cases)} cases, made of labelsTr_raters by {self.by}; there were no labels before")
        print(f"Next: nnunet_ext plan_and_preprocess -d {dataset_number(raw.name)}")
        return 0
