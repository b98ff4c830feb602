"""``nnunet_ext propagate_labels``."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.stock import folders
from nnunet_ext.stock.folders import numbers_to_oneself

if TYPE_CHECKING:
    from collections.abc import Sequence

METHODS = ("shape", "distance", "nearest")


@dataclass
class PropagateLabels(Command):
    """Fill labels between annotated slices, into a new dataset; other slices have the ignore label.

    nnunet_ext propagate_labels -d 7 -o 107 --dry_run
    nnunet_ext propagate_labels -d 7 -o 107
    nnunet_ext propagate_labels -d 7 -o 108 --keep all --method nearest

    No annotated voxel changes. No image is copied: keep the source.
    """

    name: ClassVar[str] = "propagate_labels"
    after_interruption: ClassVar[str] = "Nothing was written; run the same command again."
    has_workers: ClassVar[bool] = True

    d: str
    o: int
    n: str | None
    axis: str
    gap: int | None
    method: Literal["shape", "distance", "nearest"]
    keep: Literal["confident", "all"]
    annotated_share: float
    outside: Literal["ignore", "background"]
    dry_run: bool
    np: int
    no_pbar: bool

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="dataset with an ignore label, number or name")
        add("-o", type=options.whole(1, 999), required=True, help="number of the new dataset, 1 to 999")
        add("-n", help="name of the new dataset [that of the other]")
        add(
            "--axis",
            choices=("auto", "0", "1", "2"),
            default="auto",
            help="axis along which slices are annotated, in the order of nnU-Net's spacings [auto: for each case]",
        )
        add(
            "--gap",
            type=options.whole(1),
            help="fill only between annotated slices at most so many slices apart [4; with --keep all: any]",
        )
        add(
            "--method",
            choices=METHODS,
            default="shape",
            help="average distances to the border and move components; distance: without moving; nearest: copy [shape]",
        )
        add(
            "--keep",
            choices=("confident", "all"),
            default="confident",
            help="fill where both annotated slices have the same label, or all [confident]",
        )
        add(
            "--annotated_share",
            type=options.real(0, 1),
            default=1.0,
            help="a slice counts as annotated if this share of its voxels is [1]",
        )
        add(
            "--outside",
            choices=("ignore", "background"),
            default="ignore",
            help="what is before the first and behind the last annotated slice [ignore]",
        )
        add("--dry_run", action="store_true", help="show what would be done and write nothing")
        add("-np", type=options.whole(1), default=1, help="processes, each with one case [1]")
        add("--no_pbar", action="store_true", help="no progress bars")

    def run(self) -> int:
        """Propagate, show the table, and say how to go on."""
        from nnunet_ext.cli.data.new_dataset import new_dataset_place
        from nnunet_ext.data.raw_dataset import RawDataset
        from nnunet_ext.evaluation.markdown_table import markdown_table
        from nnunet_ext.labels.propagation.case_record import safe_spacing, table
        from nnunet_ext.labels.propagation.propagate import Rule
        from nnunet_ext.labels.propagation.propagated_dataset import TABLE, Propagation, propagate_dataset

        source = RawDataset.read(folders.dataset("nnUNet_raw", self.d))
        rule = Rule(self.method, self.keep, self.gap, self.annotated_share, self.outside)
        propagation = Propagation(source, rule, None if self.axis == "auto" else int(self.axis))
        place = new_dataset_place(self.o, self.n, source.folder, writable=not self.dry_run)
        with contextlib.nullcontext() if self.dry_run else numbers_to_oneself(place.parent):
            # its number may have been taken meanwhile
            new_dataset_place(self.o, self.n, source.folder, writable=not self.dry_run)
            records, planned = propagate_dataset(
                propagation,
                None if self.dry_run else place,
                folders.if_there("nnUNet_preprocessed"),
                processes=self.np,
                progress=not self.no_pbar,
            )
        print(markdown_table(table(records)))
        spacing = safe_spacing(records, planned)
        words = "" if spacing is None else f" -overwrite_target_spacing {_words(spacing)}"
        if spacing is not None:
            fading = [record for record in records if record.fades]
            print(
                f"WARNING: {len(fading)} of {len(records)} cases (first {fading[0].case}) would lose more than half of "
                f"what is annotated when nnU-Net resamples them to {_words(planned)} mm. Plan with the spacing below."
            )
        if self.dry_run:
            print(f"Nothing was written. Plan with: nnunet_ext plan_and_preprocess -d NUMBER{words}")
        else:
            print(f"{place}: {len(records)} cases; the table is in {TABLE}")
            print(f"Next: nnunet_ext plan_and_preprocess -d {self.o}{words}")
        return 0


def _words(spacing: Sequence[float]) -> str:
    return " ".join(f"{size:.6g}" for size in spacing)
