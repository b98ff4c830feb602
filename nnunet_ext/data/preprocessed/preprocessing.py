"""Preprocess what is missing of a dataset with nnU-Net's own preprocessing.

All cases: the stock command's function, which deletes the folder first. Some cases: the plans' preprocessor, case by
case; the files are written beside the data and then moved, ``.pkl`` last.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.preprocessed.state import ARRAYS, LABELS, PROPERTIES, TRUTHS, PreprocessedState
from nnunet_ext.data.preprocessed.use import data_alone
from nnunet_ext.errors import UserError

logger = logging.getLogger(__name__)
OF_KILLED_WORKER = "6 feet under"  # nnU-Net's wording


def preprocess_missing(
    state: PreprocessedState, *, processes: int, again: bool = False, verbose: bool = False, progress: bool = True
) -> int:
    """Preprocess the cases that are missing or out of date; remove cases that are gone.

    Args:
        state: The data; the dataset's folder in nnUNet_raw must be there.
        processes: Worker processes.
        again: Also preprocess existing data.
        verbose: nnU-Net's.
        progress: Show a progress bar.

    Returns:
        How many cases were preprocessed.

    Raises:
        UserError: A process trains on the data; or a worker was killed: cases done by then are kept.
    """
    cases = state.raw_cases
    if cases is None:
        raise UserError(f"{state.raw}: expected the dataset's images, found none. Restore them, or correct nnUNet_raw.")
    if not again and state.is_done():
        _copy_labels(state)
        return 0
    with data_alone(state.place):
        return _preprocess(state, cases, processes, again, verbose, progress)


def _preprocess(
    state: PreprocessedState, cases: Mapping[str, Case], processes: int, again: bool, verbose: bool, progress: bool
) -> int:
    known = not again and state.marker.digest() == state.digest
    missing = state.missing() if known else sorted(cases)
    stamps = state.stamps()
    if len(missing) == len(cases):
        shutil.rmtree(state.place, ignore_errors=True)
        state.marker.begin(state.digest, stamps)
        _stock(state, [state.configuration], [processes], verbose, progress)
    else:
        _remove(state, missing)
        state.marker.begin(state.digest, stamps)
        logger.info("%s: %d of %d cases are there", state.place, len(cases) - len(missing), len(cases))
        _write([cases[name] for name in missing], state, processes, progress)
    _copy_labels(state)
    state.marker.finish(state.digest)
    return len(missing)


def write_all(
    write: Callable[[Case], None], cases: Sequence[Case], processes: int, title: str, place: Path, *, progress: bool
) -> None:
    """Call a function for each case, in processes.

    Args:
        write: Writes a case; can be pickled.
        cases: The cases.
        processes: Worker processes; 1 stays in this process.
        title: Of the progress bar.
        place: What is written, for the message.
        progress: Show the progress bar.

    Raises:
        UserError: A worker was killed.
    """
    try:
        for _ in tqdm(_written(write, cases, min(processes, len(cases))), title, len(cases), disable=not progress):
            pass
    except BrokenProcessPool as error:
        raise _killed(place, processes, "-np") from error


@contextlib.contextmanager
def stock_workers(place: Path, processes: int, option: str) -> Iterator[None]:
    """``with stock_workers(folder, 4, "-np"):`` call nnU-Net; a worker that is killed is reported in one line.

    Raises:
        UserError: One was.
    """
    try:
        yield
    except RuntimeError as error:
        if OF_KILLED_WORKER not in str(error):
            raise
        raise _killed(place, processes, option) from error


def _killed(place: Path, processes: int, option: str) -> UserError:
    return UserError(
        f"{place}: expected to preprocess with {processes} processes, one was killed: there is probably too little "
        f"memory. Run it again with {option} 1: what is done is kept."
    )


@dataclass(frozen=True)
class _Writer:
    """Preprocesses one case of a configuration."""

    state: PreprocessedState
    partial: Path

    @cached_property
    def _managers(self) -> tuple[Any, Any]:
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        plans_manager = PlansManager(dict(self.state.plans))
        return plans_manager, plans_manager.get_configuration(self.state.configuration)

    def __call__(self, case: Case) -> None:
        plans_manager, configuration_manager = self._managers
        folder = self.partial / case.name
        folder.mkdir()
        configuration_manager.preprocessor_class(verbose=False).run_case_save(
            str(folder / case.name),
            [str(image) for image in case.images],
            str(case.label),
            plans_manager,
            configuration_manager,
            self.state.description,
        )
        for ending in (ARRAYS, LABELS, PROPERTIES):
            (folder / f"{case.name}{ending}").replace(self.state.place / f"{case.name}{ending}")
        folder.rmdir()


def _write(cases: Sequence[Case], state: PreprocessedState, processes: int, progress: bool) -> None:
    partial = state.place.with_name(f"{state.place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed
    partial.mkdir()
    fresh = PreprocessedState(
        state.folder, state.plans, state.configuration, state.raw
    )  # nothing cached: pickled small
    title = f"preprocessing {state.configuration}"
    write_all(_Writer(fresh, partial), cases, processes, title, state.place, progress=progress)
    shutil.rmtree(partial)


def _written(write: Callable[[Case], None], cases: Sequence[Case], processes: int) -> Iterator[None]:
    """Write cases, and yield after each."""
    if processes <= 1:
        yield from map(write, cases)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(write, case) for case in cases]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _remove(state: PreprocessedState, missing: Sequence[str]) -> None:
    """Remove all but the files of complete cases, .pkl first: without it a case counts as incomplete."""
    kept = {f"{name}{ending}" for name in state.expected - set(missing) for ending in (ARRAYS, LABELS, PROPERTIES)}
    gone = [name for name in state.files if name not in kept]
    for name in sorted(gone, key=lambda name: not name.endswith(PROPERTIES)):
        (state.place / name).unlink()


def _copy_labels(state: PreprocessedState) -> None:
    """Complete gt_segmentations with nnU-Net's own function, which copies only newer files and so keeps half a copy."""
    truths, ending = state.folder / TRUTHS, state.description["file_ending"]
    for name, case in (state.raw_cases or {}).items():
        copy, label = truths / f"{name}{ending}", case.label
        if label is not None and copy.is_file() and label.is_file():
            (one, other) = (file.stat() for file in (copy, label))
            if one.st_size != other.st_size or int(one.st_mtime) != int(other.st_mtime):
                copy.unlink()
    _stock(state, [], [], verbose=False, progress=False)


def _stock(
    state: PreprocessedState, configurations: list[str], processes: list[int], verbose: bool, progress: bool
) -> None:
    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess

    number = dataset_number(state.folder.name)
    with stock_workers(state.place, max(processes, default=1), "-np"):
        preprocess([number], state.plans["plans_name"], configurations, processes, verbose, progress)
