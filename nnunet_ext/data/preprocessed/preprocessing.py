"""Preprocess what is missing of a dataset with nnU-Net's own preprocessor, and by default with our resampling.

The preprocessor that the plans name is called case by case; the files are written beside the data and then moved,
``.pkl`` last, so a run that was killed resumes where it stopped. If all cases are missing, the folder is deleted first,
as nnU-Net does. nnU-Net's own command does it all if it is asked for, or if the preprocessor has its own way.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration, resampled_by
from nnunet_ext.data.preprocessed.state import ARRAYS, LABELS, PROPERTIES, TRUTHS, PreprocessedState
from nnunet_ext.data.preprocessed.use import data_alone
from nnunet_ext.data.preprocessed.workers import stock_workers, write_all
from nnunet_ext.errors import UserError

logger = logging.getLogger(__name__)


def preprocess_missing(
    state: PreprocessedState,
    *,
    processes: int,
    again: bool = False,
    verbose: bool = False,
    progress: bool = True,
    stock_resampling: bool = False,
    say: Callable[[str], object] = logger.info,
) -> int:
    """Preprocess the cases that are missing or out of date; remove cases that are gone.

    Args:
        state: The data; the dataset's folder in nnUNet_raw must be there.
        processes: Worker processes, with one thread each; 1 stays in this process.
        again: Also preprocess existing data.
        verbose: nnU-Net's.
        progress: Show a progress bar.
        stock_resampling: Resample with nnU-Net's functions, which take longer and have the same results.
        say: Called with one line that says who resamples.

    Returns:
        How many cases were preprocessed.

    Raises:
        UserError: A process trains on the data; nnU-Net has no preprocessor of the name in the plans; or a worker was
            killed: cases done by then are kept.
    """
    cases = state.raw_cases
    if cases is None and state.has_images_alone:
        state.check()
    if cases is None:
        raise UserError(f"{state.raw}: expected the dataset's images, found none. Restore them, or correct nnUNet_raw.")
    if not again and state.is_done():
        _copy_labels(state)
        return 0
    with data_alone(state.place):
        return _Preprocessing(state, cases, processes, verbose, progress, stock_resampling, say).run(again)


@dataclass(frozen=True)
class _Preprocessing:
    """Preprocessing of one configuration, while nobody else uses its data."""

    state: PreprocessedState
    cases: Mapping[str, Case]
    processes: int
    verbose: bool
    progress: bool
    stock_resampling: bool
    say: Callable[[str], object]

    def run(self, again: bool) -> int:
        state, cases = self.state, self.cases
        known = not again and state.marker.digest() == state.digest
        missing = state.missing() if known else sorted(cases)
        stamps, every = state.stamps(), len(missing) == len(cases)
        own_way = None if self.stock_resampling else _own_way(state)
        writer = _Writer(replace(state), self.verbose, self.stock_resampling or own_way is not None)  # nothing cached
        why_stock = f"because {own_way}" if own_way else "as asked"
        self.say(f"{state.configuration}: {resampled_by(writer.configuration_manager, why_stock)}")
        if every and state.place.is_dir():
            shutil.rmtree(state.place)
        elif not every:
            _remove(state, missing)
        state.marker.begin(state.digest, stamps)
        if every and writer.stock_resampling:
            _stock(state, [state.configuration], [self.processes], self.verbose, self.progress)
        else:
            logger.info("%s: %d of %d cases are there", state.place, len(cases) - len(missing), len(cases))
            self._write(replace(writer), [cases[name] for name in missing])
        _copy_labels(state)
        state.marker.finish(state.digest)
        return len(missing)

    def _write(self, writer: _Writer, cases: Sequence[Case]) -> None:
        place, title = self.state.place, f"preprocessing {self.state.configuration}"
        shutil.rmtree(writer.partial, ignore_errors=True)  # left by a run that was killed
        writer.partial.mkdir()
        place.mkdir(exist_ok=True)
        write_all(writer, cases, self.processes, title, place, progress=self.progress)
        shutil.rmtree(writer.partial)


@dataclass(frozen=True)
class _Writer:
    """Preprocesses one case of a configuration."""

    state: PreprocessedState
    verbose: bool
    stock_resampling: bool

    @property
    def partial(self) -> Path:
        """Where cases are written."""
        return self.state.place.with_name(f"{self.state.place.name}.partial")

    @cached_property
    def plans_manager(self) -> PlansManager:
        return PlansManager(dict(self.state.plans))

    @cached_property
    def configuration_manager(self) -> ConfigurationManager:
        planned = self.plans_manager.get_configuration(self.state.configuration)
        return planned if self.stock_resampling else FastConfiguration.of(planned)

    def __call__(self, case: Case) -> None:
        folder = self.partial / case.name
        folder.mkdir()
        self.configuration_manager.preprocessor_class(verbose=self.verbose).run_case_save(
            str(folder / case.name),
            [str(image) for image in case.images],
            str(case.label),
            self.plans_manager,
            self.configuration_manager,
            self.state.description,
        )
        for ending in (ARRAYS, LABELS, PROPERTIES):
            (folder / f"{case.name}{ending}").replace(self.state.place / f"{case.name}{ending}")
        folder.rmdir()


def _own_way(state: PreprocessedState) -> str | None:
    """Return why only nnU-Net's own command can call the plans' preprocessor; None: it can be called case by case.

    Raises:
        UserError: There is no such preprocessor.
    """
    name = state.resolved["preprocessor_name"]
    kind = PlansManager(dict(state.plans)).get_configuration(state.configuration).preprocessor_class
    if kind is None:
        raise UserError(
            f"plans {state.plans['plans_name']!r}, configuration {state.configuration}: expected the name of a "
            f"preprocessor of nnU-Net, got {name!r}. Plan again with -preprocessor_name DefaultPreprocessor."
        )
    for method in ("run", "run_case_save"):
        if getattr(kind, method, None) is not getattr(DefaultPreprocessor, method):
            return f"{name} has its own {method}()"
    return None


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
