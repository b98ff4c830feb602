"""A dataset like another one, with links to all files but the labels that were corrected, or without suspect cases."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.data.companion_files import link_label, links
from nnunet_ext.data.dataset_json import ANNOTATED, IGNORE, UNLABELLED
from nnunet_ext.data.folds import FILE as SPLITS
from nnunet_ext.data.folds import Folds, folds_of, restrict, with_sites
from nnunet_ext.data.preprocessed.state import FINGERPRINT
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json, write_json, write_text
from nnunet_ext.files.link import link
from nnunet_ext.files.system_files import files_in
from nnunet_ext.labels.raters.raw_raters import FOLDER as RATERS
from nnunet_ext.semi_supervised.raw_images import FOLDER as IMAGES_UN

Changes = dict[str, dict[tuple[int, int], int]]  # voxels by label before and after, by case
OWN = ("imagesTr", "labelsTr", "dataset.json")
CHANGED = "changed_voxels.csv"
SOURCE = "labels_corrected_from"


@dataclass(frozen=True)
class CorrectedDataset:
    """A new dataset, which must not exist.

    Args:
        source: The dataset whose labels are corrected.
        place: The new folder in nnUNet_raw.
        planned: The new folder in nnUNet_preprocessed.
        ignores: Whether voxels become ignored.
        dropped: Cases that lose their labels: their images become unlabelled ones, and no fold has them.
    """

    source: RawDataset
    place: Path
    planned: Path
    ignores: bool
    dropped: Collection[str] = ()

    def check(self) -> None:
        """Refuse a dataset that exists.

        Raises:
            UserError: It does.
        """
        for folder in (self.place, self.planned):
            if folder.exists():
                raise UserError(
                    f"{folder}: expected no folder, found one. Choose another number or name after -o and -n, or "
                    f"delete it."
                )

    @property
    def ignore(self) -> int | None:
        """The label of ignored voxels: the dataset's, else the one after the largest; None if none becomes ignored."""
        if not self.ignores:
            return None
        labels = self.source.description["labels"]
        if IGNORE in labels:
            return int(labels[IGNORE])
        values = (value if isinstance(value, list) else [value] for value in labels.values())
        return max(int(each) for own in values for each in own) + 1

    def write(self, plans: Mapping[str, Any], correct: Callable[[Path], Changes]) -> Changes:
        """Write it, whole or not at all.

        Args:
            plans: Those that the source was trained with; the new dataset gets them, its folds and its fingerprint.
            correct: Writes corrected labels into a folder and says what changed.

        Returns:
            What changed.

        Raises:
            UserError: It exists, a file is damaged, or a fold has no case left.
        """
        self.check()
        partial, planned = (each.with_name(f".{each.name}.partial") for each in (self.place, self.planned))
        for folder in (partial, planned):
            shutil.rmtree(folder, ignore_errors=True)  # of a command that was killed
        try:
            for name in ("imagesTr", "labelsTr"):
                (partial / name).mkdir(parents=True)
            changes = correct(partial / "labelsTr")
            self._link(partial)
            self._describe(partial, changes)
            self._plan(planned, plans, partial)
            partial.rename(self.place)
            planned.rename(self.planned)
        finally:
            for folder in (partial, planned):
                shutil.rmtree(folder, ignore_errors=True)
        return changes

    def _link(self, folder: Path) -> None:
        ending = self.source.file_ending
        for case in self.source.cases():
            kept = case.name not in self.dropped
            if kept or not self._lists_unlabelled:
                images = folder / ("imagesTr" if kept else IMAGES_UN)
                images.mkdir(exist_ok=True)
                for target, image in links(case.images, images, case.name, ending).items():
                    link(image, target)
            label = folder / "labelsTr" / f"{case.name}{ending}"
            if kept and case.label is not None and not label.exists():
                link_label(case.label, label)
        for other in files_in(self.source.folder):
            if other.name == IMAGES_UN and (folder / IMAGES_UN).exists():
                for image in files_in(other):
                    link(image, folder / IMAGES_UN / image.name)
            elif other.name == RATERS:
                self._link_raters(other, folder / RATERS)
            elif other.name not in (*OWN, CHANGED, SPLITS):
                link(other, folder / other.name)

    def _link_raters(self, source: Path, folder: Path) -> None:
        """Link what raters drew in the cases that are kept."""
        for rater in files_in(source):
            for file in files_in(rater):
                name = file.name.removesuffix(self.source.file_ending)
                if name != file.name and name not in self.dropped:
                    (folder / rater.name).mkdir(parents=True, exist_ok=True)
                    link_label(file, folder / rater.name / file.name)

    @property
    def _lists_unlabelled(self) -> bool:
        """Whether the source's dataset.json says where its unlabelled images are."""
        return UNLABELLED in self.source.description

    def _describe(self, folder: Path, changes: Changes) -> None:
        """Write dataset.json and what was changed; without a change, dataset.json is the source's."""
        found = {key: value for key, value in self.source.description.items() if key != "dataset"}
        if self.dropped:
            found[SOURCE] = self.source.folder.name
            found["numTraining"] = len(self.source.cases()) - len(self.dropped)
            if isinstance(found.get(ANNOTATED), dict):
                found[ANNOTATED] = {case: own for case, own in found[ANNOTATED].items() if case not in self.dropped}
            if self._lists_unlabelled:
                found[UNLABELLED] = found[UNLABELLED] | {
                    case.name: {"images": [os.path.relpath(image, self.place) for image in case.images]}
                    for case in self.source.cases()
                    if case.name in self.dropped
                }
        if any(changes.values()):
            if self.ignore is not None:
                found["labels"] = found["labels"] | {IGNORE: self.ignore}
            found[SOURCE] = self.source.folder.name
            write_text(folder / CHANGED, self._table(changes))
        if found == read_json(self.source.file):
            link(self.source.file, folder / "dataset.json")
        else:
            write_json(folder / "dataset.json", found)

    def _table(self, changes: Changes) -> str:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["case", "label before", "label after", "voxels"])
        for case, counts in sorted(changes.items()):
            for (before, after), voxels in sorted(counts.items()):
                writer.writerow([case, before, after, voxels])
        return stream.getvalue()

    def _plan(self, folder: Path, plans: Mapping[str, Any], raw: Path) -> None:
        """The source's plans, folds and fingerprint: corrected labels must not be planned or split into folds again."""
        theirs = self.planned.with_name(self.source.folder.name)
        folder.mkdir(parents=True)
        write_json(folder / f"{plans['plans_name']}.json", dict(plans) | {"dataset_name": self.place.name})
        write_json(folder / "dataset.json", read_json(raw / "dataset.json"))
        folds = with_sites(self._folds(theirs), [theirs])
        write_json(folder / SPLITS, folds)
        if (self.source.folder / SPLITS).is_file():  # nnU-Net's planning compares it with the other one
            write_json(raw / SPLITS, folds)
        if (theirs / FINGERPRINT).is_file():
            shutil.copyfile(theirs / FINGERPRINT, folder / FINGERPRINT)

    def _folds(self, theirs: Path) -> Folds:
        """The source's folds without the dropped cases."""
        names = {case.name for case in self.source.cases()}
        before = folds_of([theirs], names)
        if not self.dropped:
            return before
        folds = restrict(before, names - {*self.dropped})
        for number, fold in enumerate(folds):
            for key in ("train", "val"):
                if before[number][key] and not fold[key]:
                    raise UserError(
                        f"{theirs / SPLITS}, fold {number}, {key!r}: expected a case that is not suspect, found none. "
                        f"Drop only some, with --cases."
                    )
        return folds
