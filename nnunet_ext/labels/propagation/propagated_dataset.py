"""A dataset with propagated labels: images by reference, label files of its own, a table of what was done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from nnunet_ext.data.dataset_json import HIDDEN, TEST, UNLABELLED, scored_names
from nnunet_ext.data.folds import FILE, folds_of, with_sites
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_reader import find_reader
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import write_json, write_text
from nnunet_ext.files.link import reference
from nnunet_ext.labels.propagation.case_job import CaseJob, Propagation
from nnunet_ext.labels.propagation.case_record import CaseRecord, csv_table
from nnunet_ext.labels.propagation.surviving_share import planned_spacing
from nnunet_ext.processes.workers import Workers
from nnunet_ext.semi_supervised.raw_images import find_unlabelled, has_unlabelled

Result = TypeVar("Result")
TABLE = "propagated.csv"
RECORD = "labels_propagated"  # key of dataset.json
FOREIGN = ("dataset", "numTraining", "training", "numTest", UNLABELLED, HIDDEN, TEST, "labels_hidden_from", "source")


def propagate_dataset(
    propagation: Propagation,
    place: Path | None,
    preprocessed: Path | None = None,
    *,
    processes: int = 1,
    progress: bool = True,
) -> tuple[list[CaseRecord], tuple[float, ...]]:
    """Propagate the labels of a dataset into a new one: whole, or not at all.

    Args:
        propagation: What is to be done.
        place: The new dataset's folder in nnUNet_raw, which must not exist; None: write nothing.
        preprocessed: The folder nnUNet_preprocessed, which may know the source's folds.
        processes: Cases at a time.
        progress: Show progress bars.

    Returns:
        What was done to each case, and the target spacing that nnU-Net would plan for the images.

    Raises:
        UserError: The source has no ignore label or no annotated slice, a label file is damaged, the folder exists, or
            a process was killed.
    """
    propagation.check()
    source, cases = propagation.source, propagation.source.cases()
    if place is not None and place.exists():
        raise UserError(
            f"{place}: expected no folder, found one. Choose another number after -o, or delete the folder."
        )
    job = CaseJob(propagation, find_reader(source.description, cases[0].images[0]), source.legal_labels())
    named = place or source.folder
    grids = _each(job.grid, cases, processes, "reading labels", named, progress=progress)
    target = planned_spacing([spacing for _, spacing in grids], [shape for shape, _ in grids])
    with _staging(place) as folder:
        run = CaseJob(propagation, job.reader, job.legal, target, folder).run
        done = _each(run, cases, processes, "propagating labels", named, progress=progress)
        records = sorted(done, key=lambda record: record.case)
        _check_annotated(source, records)
        if folder is not None and place is not None:
            write_text(folder / TABLE, csv_table(records))
            _write_folds(source, folder, preprocessed, cases)
            write_json(folder / "dataset.json", _description(propagation, cases, place.parent))
            folder.rename(place)
    return records, target


def _check_annotated(source: RawDataset, records: Sequence[CaseRecord]) -> None:
    if any(record.axis is not None for record in records):
        return
    raise UserError(
        f"{source.folder}: expected cases with slices that are annotated as a whole, found none in {len(records)} "
        f"cases. Give their axis (--axis), or a smaller --annotated_share."
    )


def _each(
    function: Callable[[Case], Result],
    cases: Sequence[Case],
    processes: int,
    title: str,
    named: Path,
    *,
    progress: bool,
) -> list[Result]:
    """Call a function for each case, in any order."""
    try:
        with Workers(min(processes, len(cases))) as workers:
            return list(tqdm(workers.each(function, cases), title, len(cases), unit="case", disable=not progress))
    except BrokenProcessPool as error:
        raise UserError(
            f"{named}: expected {processes} processes to propagate labels, one was killed: there is probably too "
            f"little memory. Run it again with -np 1."
        ) from error


@contextmanager
def _staging(place: Path | None) -> Iterator[Path | None]:
    """A temporary folder, which nnU-Net does not see; it is removed afterwards unless it was renamed."""
    if place is None:
        yield None
        return
    folder = place.with_name(f".{place.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)  # left by a crash
    (folder / "labelsTr").mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_folds(source: RawDataset, folder: Path, preprocessed: Path | None, cases: Sequence[Case]) -> None:
    """Keep folds that somebody has made: those of nnU-Net's default are the same for the same cases."""
    places = [*([preprocessed / source.folder.name] if preprocessed else []), source.folder]
    if any((place / FILE).is_file() for place in places):
        write_json(folder / FILE, with_sites(folds_of(places, [case.name for case in cases]), places))


def _description(propagation: Propagation, cases: Sequence[Case], raw: Path) -> dict[str, Any]:
    """The new dataset.json; its paths lead to the source's files, but for the labels."""
    source = propagation.source
    found = {key: value for key, value in source.description.items() if key not in FOREIGN}
    found |= {
        "numTraining": len(cases),
        RECORD: {"from": source.folder.name, "axis": propagation.axis, **asdict(propagation.rule)},
        "dataset": {
            case.name: {
                "images": [reference(image, raw) for image in case.images],
                "label": f"labelsTr/{case.name}{source.file_ending}",
            }
            for case in cases
        },
    }
    if has_unlabelled(source.folder):
        unlabelled = find_unlabelled(source.folder)
        found[UNLABELLED] = {
            case.name: {"images": [reference(image, raw) for image in case.images]} for case in unlabelled
        }

    def moved(text: str) -> str:
        return reference(Path(os.path.abspath(source.folder / os.path.expandvars(text))), raw)

    if names := scored_names(source.description, HIDDEN):
        found[HIDDEN] = {name: moved(source.description[HIDDEN][name]) for name in sorted(names)}
    if names := scored_names(source.description, TEST):
        entries = {name: source.description[TEST][name] for name in sorted(names)}
        found[TEST] = {
            name: {"images": list(map(moved, entry["images"])), "label": moved(entry["label"])}
            for name, entry in entries.items()
        }
    return found
