"""Write a converted dataset, case by case; what a killed call has written is kept, a second call writes the rest."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunet_ext.challenges.conversion.conversion import ENDING, Conversion, SourceCase
from nnunet_ext.challenges.conversion.merged_label import MergedLabel
from nnunet_ext.challenges.conversion.overlapping import with_labels
from nnunet_ext.challenges.conversion.voxel_file import VoxelFile
from nnunet_ext.data.folds import FILE
from nnunet_ext.errors import UserError, more
from nnunet_ext.files.json_file import is_partial, read_json, read_object, whole_file, write_json
from nnunet_ext.files.link import link
from nnunet_ext.files.system_files import files_in
from nnunet_ext.labels.raters.raw_raters import FOLDER as RATERS
from nnunet_ext.processes.follow_parent import follow_parent
from nnunet_ext.processes.run_lock import NAME as LOCK

STATE = "conversion.json"  # beside dataset.json: what each case was made of, and what its label does not hold
Job = Callable[[SourceCase], dict[str, Any]]


@dataclass
class ConversionWriter:
    """Writes a conversion into a dataset's folder.

    dataset.json is written last: a folder with it is complete.

    Args:
        conversion: What to write.
        place: The dataset's folder in nnUNet_raw; :meth:`claim` makes it.
        copy: Copy images and ready label maps; else they are links to the challenge's files.
        processes: Cases at a time; each process holds one.
        progress: Show progress bars.
    """

    conversion: Conversion
    place: Path
    copy: bool = False
    processes: int = 1
    progress: bool = True

    def claim(self) -> None:
        """Make the folder, or take over what an earlier call has written there; nothing else may be in it.

        Raises:
            UserError: The folder holds another dataset, or the same challenge with other options.
        """
        there = [path.name for path in files_in(self.place) if not (is_partial(path.name) or path.name == LOCK)]
        if not there:
            self.place.mkdir(exist_ok=True)
            self._write_state({})
            return
        state = read_object(self.place / STATE) if STATE in there else {}
        if not {"cases", "combinations"} <= state.keys():
            raise UserError(
                f"{self.place}: expected no folder, or one that this command has written, found another dataset "
                f"({there[0]}). Choose another number after -d."
            )
        found = {key: state.get(key) for key in self._identity}
        if found != self._identity and there != [STATE]:
            raise UserError(
                f"{self.place}: expected {_words(self._identity)} as requested now, found it written with "
                f"{_words(found)}. Choose another number after -d, or delete the folder."
            )
        names = {case.name for case in self.conversion.all_cases()}
        if gone := sorted(set(state["cases"]) - names):
            raise UserError(
                f"{self.place}: expected the cases that were converted before, found no {gone[0]} in the source"
                f"{more(len(gone) - 1)}. Add it, or delete the folder to convert what is there."
            )
        if found != self._identity:  # no case was converted; what was counted holds for other options too
            self._write_state(state)

    def write(self) -> tuple[Conversion, dict[str, Any], int]:
        """Check the grids of what is missing, write it, and finish with dataset.json.

        Returns:
            The conversion with its labels, the record of each training case, and how many cases were written now.

        Raises:
            UserError: A file is damaged or its grid is not that of its image; what was written before is kept.
        """
        state = read_object(self.place / STATE)
        if self.conversion.merged_below is None:
            self._check_grids([case for case in self.conversion.all_cases() if not self._is_written(case, state)])
        else:
            self._check_grids([case for case in self.conversion.cases if not _is_counted(case, state)])
            self._count(state)
        missing = [case for case in self.conversion.all_cases() if not self._is_written(case, state)]
        if missing:
            (self.place / "dataset.json").unlink(missing_ok=True)
            for folder in {file.parent for case in missing for file in _targets(case, self.place)}:
                folder.mkdir(parents=True, exist_ok=True)
        job = partial(write_case, place=self.place, copy=self.copy)
        for case, record in self._each(job, missing, "converting"):
            state["cases"][case.name] = {"made_of": _made_of(case), **record}
            self._write_state(state)
        self._finish()
        records = {case.name: state["cases"][case.name] for case in self.conversion.cases}
        return self.conversion, records, len(missing)

    @property
    def _identity(self) -> dict[str, Any]:
        return {"challenge": self.conversion.record.name, "options": dict(self.conversion.options)}

    def _write_state(self, state: Mapping[str, Any]) -> None:
        write_json(self.place / STATE, {"cases": {}, "combinations": {}, **state, **self._identity}, indent=1)

    def _is_written(self, case: SourceCase, state: Mapping[str, Any]) -> bool:
        if state["cases"].get(case.name, {}).get("made_of") != _made_of(case):
            return False
        return all(file.is_file() and not (self.copy and file.is_symlink()) for file in _targets(case, self.place))

    def _check_grids(self, cases: Sequence[SourceCase]) -> None:
        for case in tqdm(cases, "checking headers", disable=not (self.progress and cases)):
            case.check_grid()

    def _count(self, state: dict[str, Any]) -> None:
        """Count the combinations of structures of all cases, and choose the labels."""
        uncounted = [case for case in self.conversion.cases if not _is_counted(case, state)]
        for case, record in self._each(count_combinations, uncounted, "counting overlaps"):
            state["combinations"][case.name] = {"made_of": _stamp(case.files()), **record}
            self._write_state(state)
        counts = [state["combinations"][case.name]["voxels"] for case in self.conversion.cases]
        found = [{frozenset(names): number for names, number in each} for each in counts]
        self.conversion = with_labels(self.conversion, found)

    def _each(self, job: Job, cases: Sequence[SourceCase], title: str) -> Iterator[tuple[SourceCase, dict[str, Any]]]:
        done = _run(job, cases, min(self.processes, len(cases)))
        try:
            yield from tqdm(done, title, len(cases), unit="case", disable=not (self.progress and cases))
        except BrokenProcessPool as error:
            raise UserError(
                f"{self.place}: expected {self.processes} processes to convert, one was killed: there is probably too "
                f"little memory. Run it again with -np 1: what is done is kept."
            ) from error

    def _finish(self) -> None:
        """Write folds and dataset.json, unless they are there already."""
        contents = {FILE: self.conversion.folds, "dataset.json": self.conversion.description()}
        for name, content in contents.items():
            file = self.place / name
            if content is not None and not (file.is_file() and read_json(file) == content):
                write_json(file, content)


def write_case(case: SourceCase, place: Path, copy: bool) -> dict[str, Any]:
    """Write one case's images and label.

    Args:
        case: Its files in the source.
        place: The dataset's folder.
        copy: Copy images and ready label maps instead of linking them.

    Returns:
        What is recorded about its label.

    Raises:
        UserError: A mask is damaged.
    """
    sources = (*case.images, *((case.label,) if isinstance(case.label, Path) else ()))
    targets = _targets(case, place)
    grid = VoxelFile(case.images[0])
    for source, target in zip(sources, targets, strict=False):
        with whole_file(target) as file:
            if copy:
                shutil.copyfile(source, file)
            else:
                link(source, file)
    for rater, recipe in case.raters.items():
        grid.write_labels(recipe.make().labels, _map_of(rater, case, place))
    if case.label is None or isinstance(case.label, Path):
        return {}
    made = case.label.make()
    grid.write_labels(made.labels, targets[len(case.images)])
    return made.record


def count_combinations(case: SourceCase) -> dict[str, Any]:
    """Return the voxels of each combination of structures in a case, as JSON."""
    assert isinstance(case.label, MergedLabel)
    return {"voxels": sorted([sorted(each), number] for each, number in case.label.combinations().items())}


def _targets(case: SourceCase, place: Path) -> list[Path]:
    """The files of a case in the dataset: images, then the label if it has one, then the maps of raters."""
    part = "Ts" if case.label is None else "Tr"
    images = [place / f"images{part}" / f"{case.name}_{number:04d}{ENDING}" for number in range(len(case.images))]
    label = [] if case.label is None else [place / "labelsTr" / f"{case.name}{ENDING}"]
    return [*images, *label, *(_map_of(rater, case, place) for rater in case.raters)]


def _map_of(rater: str, case: SourceCase, place: Path) -> Path:
    return place / RATERS / rater / f"{case.name}{ENDING}"


def _made_of(case: SourceCase) -> str:
    """Changes when a source file or the rule does."""
    rule = "" if case.label is None or isinstance(case.label, Path) else case.label.rule
    return f"{_stamp(case.files())} {rule}".strip()


def _is_counted(case: SourceCase, state: Mapping[str, Any]) -> bool:
    """Whether the combinations of a case were counted; of files, images too, that have not changed since."""
    return bool(state["combinations"].get(case.name, {}).get("made_of") == _stamp(case.files()))


def _stamp(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f"{os.path.abspath(file)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _words(identity: Mapping[str, Any]) -> str:
    options: Mapping[str, Any] = identity["options"] or {}
    words = (f"{name} {' '.join(value) if isinstance(value, list) else value}" for name, value in options.items())
    return ", ".join([str(identity["challenge"]), *words])


def _run(job: Job, cases: Sequence[SourceCase], processes: int) -> Iterator[tuple[SourceCase, dict[str, Any]]]:
    """Call a function for each case and yield what it returns."""
    if processes <= 1:
        yield from ((case, job(case)) for case in cases)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), follow_parent) as pool:
        jobs = {pool.submit(job, case): case for case in cases}
        try:
            for done in as_completed(jobs):
                yield jobs[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)
