"""``nnunet_ext collect``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.stock import folders
from nnunet_ext.stock.folders import numbers_to_oneself

if TYPE_CHECKING:
    from nnunet_ext.collection.collect.draft import Collected
    from nnunet_ext.data.raw_dataset import RawDataset

HEAD = ("task", "dataset", "cases", "channels", "labels", "note")
WIDEST_LABELS = 40


@dataclass
class Collect(Command):
    """Make a collection: several datasets, or parts of them, to be learned by one network.

    nnunet_ext collect -d 900 -n MOTS 3 40 8 4:labels=Anterior,cases=front.txt

    MEMBER is a dataset, number or name, optionally followed by a colon and settings separated by commas:
      name=TASK              name of the task (default: the dataset's name without its number)
      labels=A+B             only these classes; labels=A/b names class A b
      cases=FILE             only these cases, one per line
      weight=2               how often it is trained, if sampling uses weights
      spacing=3x1.5x1.5      target spacing in mm, in the order of -overwrite_target_spacing
      normalization=CT       CT, zscore, noNorm, rescale_to_0_1, rgb_to_0_1 or nnU-Net's class; one for each channel
                             joined with +, or one for all
    A dataset whose dataset.json has "annotated": {"case_1": ["liver"], ...} becomes one task for each set of classes
    that were annotated together.
    """

    name: ClassVar[str] = "collect"

    d: int
    n: str
    member: list[str]
    spacing: str = "own"
    normalization: str = "own"
    network_of: str | None = None
    no_pbar: bool = False

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", type=options.whole(1, 999), required=True, help="number of the collection, 1 to 999")
        add("-n", required=True, help="name of the collection, as MOTS in Dataset900_MOTS")
        add("--spacing", choices=("own", "one"), default=cls.spacing, help="target spacing: each member's own, or one")
        add("--normalization", choices=("own", "one"), default=cls.normalization, help="the same for normalization")
        add("--network_of", metavar="COLLECTION", help="reuse its planned network, so that its weights fit")
        add("--no_pbar", action="store_true", help="no progress bar")
        add("member", nargs="+", metavar="MEMBER", help="dataset, or part of one")

    def run(self) -> int:
        """Check, write the parts, write the manifest, show the tasks."""
        from nnunet_ext.collection.collect.collect import collect
        from nnunet_ext.collection.collect.selection import parse_selection
        from nnunet_ext.stock.folders import Folders

        raw = folders.folder("nnUNet_raw", writable=True)
        selections = [parse_selection(word, _find) for word in self.member]
        name = f"Dataset{self.d:03d}_{self.n}"
        with numbers_to_oneself(raw):
            found = collect(
                name,
                selections,
                Folders(raw, folders.if_there("nnUNet_preprocessed"), folders.if_there("nnUNet_results")),
                spacing=self.spacing,
                normalization=self.normalization,
                network_of=None
                if self.network_of is None
                else folders.dataset("nnUNet_preprocessed", self.network_of).name,
                show_progress=not self.no_pbar,
            )
        print(f"{raw / name / 'dataset.json'}\n\n{table(found)}\n")
        print(f"Next: nnunet_ext plan_and_preprocess -d {self.d} -pl UniSegPlanner")
        return 0


def table(tasks: Sequence[Collected]) -> str:
    """Lay out the tasks of a collection; the column of notes is left out if there are none."""
    rows = [
        (each.task.name, each.task.dataset, str(each.cases), str(each.channels), _short(each.labels), each.note)
        for each in tasks
    ]
    columns = len(HEAD) if any(row[-1] for row in rows) else len(HEAD) - 1
    widths = [max(len(row[column]) for row in (HEAD, *rows)) for column in range(columns)]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row[:columns], widths, strict=True)).rstrip()
        for row in (HEAD, *rows)
    ]
    return "\n".join(lines)


def _short(labels: Sequence[str]) -> str:
    text = ", ".join(labels)
    return text if len(text) <= WIDEST_LABELS else f"{len(labels)}: {text[: WIDEST_LABELS - 9]} ..."


def _find(word: str) -> RawDataset:
    from nnunet_ext.collection.members import find_member

    place = folders.dataset("nnUNet_raw", word)
    return find_member(place.parent, place.name, word)
