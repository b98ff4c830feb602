"""Members that are only part of a dataset: some of its classes, renamed, or some of its cases.

A part is an ordinary nnU-Net dataset. Its images are the source's, by reference; its label files are its own, with the
classes renumbered; its folds are the source's, case by case and under the same numbers.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.collection.label_subset import LabelSubset, class_values, label_subset
from nnunet_ext.data.case_check import knows_spacing, read_label
from nnunet_ext.data.companion_files import spacing_file
from nnunet_ext.data.dataset_json import IGNORE, PART, part_record
from nnunet_ext.data.folds import FILE, Folds, folds_of, restrict
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_reader import find_reader
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError, more
from nnunet_ext.files.file_stamp import FileStamp, changed_file
from nnunet_ext.files.json_file import read_json, write_json
from nnunet_ext.files.link import reference
from nnunet_ext.processes.cores import usable_cores

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

MAX_THREADS = 8
SOURCE_LABELS = "source_labels.json"  # identity of the source's label files that the part's were made from
KEPT_KEYS = ("overwrite_image_reader_writer", "reference", "licence", "license")


@dataclass(frozen=True)
class Part:
    """A member to be written.

    Args:
        source: The dataset that it is part of.
        collection: Name of the collection.
        task: Name of the task.
        labels: Names of its classes in the source and in the part.
        cases: Its cases.
        annotated: The classes that were annotated in each case, if not all.
    """

    source: RawDataset
    collection: str
    task: str
    labels: Mapping[str, str]
    cases: tuple[str, ...]
    annotated: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def record(self) -> dict[str, str]:
        """What the part's dataset.json says about its origin, by which a part is found again."""
        return {"dataset": self.source.folder.name, "collection": self.collection, "task": self.task}

    @cached_property
    def subset(self) -> LabelSubset:
        """Its labels."""
        return label_subset(self.source, self.labels)

    def source_cases(self) -> dict[str, Case]:
        """Return the files of its cases in the source."""
        all_cases = {case.name: case for case in self.source.cases()}
        return {name: all_cases[name] for name in self.cases}

    def description(self) -> dict[str, Any]:
        """Return its dataset.json."""
        ending = self.source.file_ending
        found: dict[str, Any] = {"channel_names": self.source.channel_names, "labels": self.subset.labels}
        if self.subset.regions_class_order is not None:
            found["regions_class_order"] = self.subset.regions_class_order
        found |= {"numTraining": len(self.cases), "file_ending": ending}
        found |= {key: self.source.description[key] for key in KEPT_KEYS if key in self.source.description}
        found[PART] = self.record
        found["dataset"] = {
            name: {
                "images": [reference(image, self.source.folder.parent) for image in case.images],
                "label": f"labelsTr/{name}{ending}",
            }
            for name, case in self.source_cases().items()
        }
        return found

    def folds(self, preprocessed: Path | None) -> Folds:
        """Return the source's folds with the part's cases only.

        Args:
            preprocessed: The folder nnUNet_preprocessed, if there is one.

        Raises:
            UserError: None of the folds has a case of the part to train on.
        """
        name = self.source.folder.name
        places = ([preprocessed / name] if preprocessed else []) + [self.source.folder]
        found = restrict(folds_of(places, [case.name for case in self.source.cases()]), self.cases)
        if not any(fold["train"] for fold in found):
            raise UserError(
                f"{FILE} of {name}: expected folds that train on cases of task {self.task!r}, found none of its "
                f"{len(self.cases)} cases. Add them to the folds or choose other cases."
            )
        return found


def written_parts(raw: Path, collection: str) -> dict[tuple[str, str], RawDataset]:
    """Return the parts of a collection that are there already, by source and task."""
    found = {}
    for file in sorted(raw.glob("Dataset[0-9][0-9][0-9]_*/dataset.json")):
        try:
            description = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # somebody else's dataset: not checked here
        record = part_record(description) if isinstance(description, dict) else None
        if record is not None and record["collection"] == collection:
            found[record["dataset"], record["task"]] = RawDataset(file.parent, description)
    return found


def check_source_labels(folder: Path) -> None:
    """Refuse a part whose source's labels changed; what is not a part, or was written by an older version, passes.

    If the source is a part too, it must have the labels of its own source, and so on.

    Args:
        folder: The dataset's folder in nnUNet_raw.

    Raises:
        UserError: A label file of the source was changed since the part was written.
    """
    if not (folder / SOURCE_LABELS).is_file():
        return
    record, stamps = read_json(folder / "dataset.json")["source"], read_json(folder / SOURCE_LABELS)
    if not (folder.parent / record["dataset"] / "dataset.json").is_file():
        return
    check_source_labels(folder.parent / record["dataset"])
    cases = RawDataset.read(folder.parent / record["dataset"]).cases()
    labels = [(case.label, stamps.get(case.name)) for case in cases if case.label]
    changed = [file for label, stamp in labels if (file := changed_file([label], stamp and [stamp])) is not None]
    if changed:
        raise UserError(
            f"{folder}: expected labels of {record['dataset']} as they were when this part was written, found "
            f"{changed[0]} changed since{more(len(changed) - 1, 'file')}. Delete the part's folder, collect and plan "
            f"{record['collection']} again: unchanged data are not preprocessed again."
        )


def write_parts(
    parts: Mapping[str, Part], raw: Path, preprocessed: Path | None = None, *, show_progress: bool = True
) -> None:
    """Write parts, all or none: into temporary folders, which are renamed when every label file is done.

    Args:
        parts: Name of the dataset to be written, and the part.
        raw: The folder nnUNet_raw.
        preprocessed: The folder nnUNet_preprocessed, which may know the sources' folds.
        show_progress: Show a progress bar.

    Raises:
        UserError: A label file is damaged or holds values that it must not.
    """
    from tqdm import tqdm

    with _staging(raw, parts) as places:
        jobs = []
        for name, part in parts.items():
            write_json(places[name] / "dataset.json", part.description())
            write_json(places[name] / FILE, part.folds(preprocessed))
            cases = part.source_cases()
            stamps = {name: FileStamp.of(case.label).as_json() for name, case in cases.items() if case.label}
            write_json(places[name] / SOURCE_LABELS, stamps)
            reader = find_reader(part.source.description, next(iter(cases.values())).images[0])
            target = places[name] / "labelsTr"
            target.mkdir()
            jobs += [_Job(part, case, reader, target) for case in cases.values()]
        # nnU-Net's readers print
        with redirect_stdout(io.StringIO()), ThreadPoolExecutor(min(MAX_THREADS, usable_cores())) as pool:
            for _ in tqdm(pool.map(_Job.run, jobs), "writing labels", len(jobs), disable=not show_progress):
                pass
        for name in parts:
            places[name].rename(raw / name)


@dataclass(frozen=True)
class _Job:
    """One label file."""

    part: Part
    case: Case
    reader: BaseReaderWriter
    target: Path

    def run(self) -> None:
        """Read, check, renumber, write."""
        file = self.case.label
        assert file is not None
        values = self.part.subset.values
        label, properties = read_label(file, self.reader, tuple(values))
        label = label[0].astype(np.uint16)
        self._check_annotated(label, file)
        table = np.zeros(max(values) + 1, np.uint16)
        table[list(values)] = list(values.values())
        name = f"{self.case.name}{self.part.source.file_ending}"
        target = self.target / name
        self.reader.write_seg(table[label], str(target), properties)
        beside = spacing_file(target, label=True)
        if beside is not None and not knows_spacing(file):
            beside.unlink(missing_ok=True)  # it says 1 mm, which the source does not

    def _check_annotated(self, label: NDArray, file: Path) -> None:
        """Refuse labels that were not annotated but occur: elsewhere the case would be trained as if complete."""
        annotated = self.part.annotated.get(self.case.name)
        if annotated is None:
            return
        classes = class_values(self.part.source)
        legal = {0, self.part.source.description["labels"].get(IGNORE, 0)}.union(*(classes[name] for name in annotated))
        counts = np.bincount(label.ravel())
        for value in np.flatnonzero(counts):
            if value not in legal:
                names = " or ".join(name for name, values in classes.items() if value in values)
                raise UserError(
                    f"{file}: expected only what 'annotated' of {self.part.source.file} lists for case "
                    f"{self.case.name!r} ({', '.join(sorted(annotated))}), found label {value} ({names}) in "
                    f"{counts[value]} voxels. Add it there or remove it from the file."
                )


@contextmanager
def _staging(raw: Path, parts: Mapping[str, Part]) -> Iterator[dict[str, Path]]:
    """Temporary folders, which are removed afterwards in any case; nnU-Net does not see their names."""
    places = {name: raw / f".{name}.partial" for name in parts}
    try:
        for place in places.values():
            shutil.rmtree(place, ignore_errors=True)  # left by a crash
            place.mkdir()
        yield places
    finally:
        for place in places.values():
            shutil.rmtree(place, ignore_errors=True)
