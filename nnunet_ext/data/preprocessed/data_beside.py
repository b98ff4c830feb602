"""Preprocessed data of a configuration that nnU-Net must not find, in a folder beside its own.

nnU-Net trains on every case in its data folder. What else a training reads (images without labels, the maps of several
raters) is stored in ``<data_identifier>_<kind>``, with a marker (:mod:`nnunet_ext.data.preprocessed.marker`): other
plans, other labels or missing files are noticed before anything is trained on them.

A case's files are written elsewhere and then moved, the last ending last, so a run that was killed resumes where it
stopped.
"""

from __future__ import annotations

import abc
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.data.companion_files import files_of
from nnunet_ext.data.dataset_json import read_dataset_json
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.preprocessed.data_hash import preprocessing_hash
from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration, resampled_by
from nnunet_ext.data.preprocessed.marker import DataMarker
from nnunet_ext.data.preprocessed.use import data_alone
from nnunet_ext.data.preprocessed.workers import write_all
from nnunet_ext.errors import UserError
from nnunet_ext.files.file_stamp import FileStamp, changed_file
from nnunet_ext.files.system_files import files_in

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataBeside(abc.ABC):
    """Preprocessed data of one kind beside those of one configuration.

    Args:
        folder: The dataset's folder in nnUNet_preprocessed.
        plans: The plans.
        configuration: Name of the configuration.
        stock_resampling: Resample with nnU-Net's functions, which take longer and have the same results.
    """

    kind: ClassVar[str]  # ends the folder's name
    endings: ClassVar[tuple[str, ...]]  # of a case's files; the last marks it as complete
    what: ClassVar[str]  # for messages
    which: ClassVar[str]  # the cases, for messages

    folder: Path
    plans: Mapping[str, Any]
    configuration: str
    stock_resampling: bool = False

    @abc.abstractmethod
    def write(self, case: Case) -> None:
        """Preprocess one case."""

    @property
    def place(self) -> Path:
        """The folder that holds them, which need not exist."""
        return self.folder / f"{self.configuration_manager.data_identifier}_{self.kind}"

    @cached_property
    def plans_manager(self) -> PlansManager:
        """nnU-Net's form of the plans."""
        return PlansManager(dict(self.plans))

    @cached_property
    def configuration_manager(self) -> ConfigurationManager:
        """nnU-Net's form of the configuration, by default with our resamplers."""
        planned = self.plans_manager.get_configuration(self.configuration)
        return planned if self.stock_resampling else FastConfiguration.of(planned)

    @cached_property
    def dataset_json(self) -> dict[str, Any]:
        """The dataset.json that the labelled cases were preprocessed with."""
        return read_dataset_json(self.folder / "dataset.json")

    @cached_property
    def digest(self) -> str:
        """What preprocessing depends on."""
        return preprocessing_hash(self.folder, self.plans, self.configuration_manager.configuration)

    @property
    def marker(self) -> DataMarker:
        """Records what is there."""
        return DataMarker(self.place)

    @property
    def partial(self) -> Path:
        """Where cases are written."""
        return self.place.with_name(f"{self.place.name}.partial")

    def missing(self, cases: Sequence[Case], *, again: bool = False) -> list[Case]:
        """Return the cases that are missing, not intact, or older than their files.

        Args:
            cases: All cases.
            again: Return all cases.
        """
        if again or self.marker.digest() != self.digest:
            return list(cases)
        sizes, sources = self.marker.sizes(), self.marker.sources()
        return [case for case in cases if not self._is_whole(case, sizes, sources)]

    def stamps(self, cases: Iterable[Case]) -> dict[str, Any]:
        """Return the identity of the cases' files, for the marker."""
        return {case.name: [FileStamp.of(file).as_json() for file in files_of(case)] for case in cases}

    def changed(self, case: Case, recorded: Any) -> Path | None:
        """Return a file of a case that is not what :meth:`stamps` recorded; None if none is known to have changed."""
        return changed_file(files_of(case), recorded)

    def _is_whole(self, case: Case, sizes: Mapping[str, int], sources: Mapping[str, Any]) -> bool:
        files = self.files(case)
        if not all(
            file.is_file() and file.stat().st_size == sizes.get(file.name, file.stat().st_size) for file in files
        ):
            return False
        if case.name in sources:
            return self.changed(case, sources[case.name]) is None
        written = files[-1].stat().st_mtime_ns  # earlier versions recorded no image
        return all(image.stat().st_mtime_ns <= written for image in files_of(case))

    def files(self, case: Case) -> list[Path]:
        """Return the files of a case, which need not exist."""
        return [self.place / f"{case.name}{ending}" for ending in self.endings]

    def take(self, folder: Path, case: Case) -> None:
        """Move a case's files from the folder that they were written to, and remove it."""
        for file in self.files(case):
            (folder / file.name).replace(file)
        folder.rmdir()

    def check_strangers(self) -> None:
        """Refuse what was not written here: the folder is cleared of what is out of date.

        Raises:
            UserError: There is something else.
        """
        for path in files_in(self.place):
            if path.is_dir() or not path.name.endswith(self.endings):
                raise UserError(
                    f"{path}: expected preprocessed {self.what} only, found something else. Move it elsewhere."
                )

    def is_done(self, cases: Sequence[Case], missing: Sequence[Case]) -> bool:
        """Whether nothing is left to do."""
        names = sorted(case.name for case in cases)
        return not missing and self.marker.problem(self.digest) is None and self.marker.cases() == names

    def write_missing(self, cases: Sequence[Case], missing: Sequence[Case], processes: int, *, progress: bool) -> None:
        """Write cases, while no process trains on the data; all others but complete ones are removed.

        Args:
            cases: All cases.
            missing: Those to write.
            processes: Worker processes; 1 stays in this process.
            progress: Show a progress bar.

        Raises:
            UserError: A process trains on them; or a worker was killed: cases done by then are kept.
        """
        with data_alone(self.place):
            self._prepare(cases, missing)
            title = f"preprocessing {self.what}, {self.configuration}"
            write_all(self.write, missing, processes, title, self.place, progress=progress)
            shutil.rmtree(self.partial)
            self.marker.finish(self.digest)

    def _prepare(self, cases: Sequence[Case], missing: Sequence[Case]) -> None:
        """Leave only complete cases in the folder, then mark it as incomplete."""
        shutil.rmtree(self.partial, ignore_errors=True)  # left by a run that was killed
        self.partial.mkdir()
        self.place.mkdir(exist_ok=True)
        undone = {case.name for case in missing}
        kept = {file.name for case in cases if case.name not in undone for file in self.files(case)}
        for file in self.place.iterdir():
            if file.name not in kept:
                file.unlink()
        self.marker.begin(self.digest, self.stamps(cases))  # after the last file of other plans is gone


def preprocess_beside(
    places: Iterable[DataBeside],
    cases: Sequence[Case],
    *,
    check: Callable[[list[Any]], object] | None,
    described: str,
    purpose: str,
    processes: int,
    progress: bool,
    again: bool,
    say: Callable[[str], object],
) -> None:
    """Preprocess what is missing in places; remove cases that are gone. Places that share their data are one.

    Args:
        places: One for each configuration.
        cases: All cases.
        check: Called with the cases that are missing anywhere, before anything is written; None: nothing is checked.
        described: What is resampled, for ``say``.
        purpose: ``"data"`` for images, ``"seg"`` for label maps.
        processes: Worker processes; 1 stays in this process.
        progress: Show progress bars.
        again: Also preprocess existing data.
        say: Called with one line for each configuration, which says who resamples.

    Raises:
        UserError: A folder holds something else; a process trains on the data; or a worker was killed: cases done by
            then are kept.
    """
    todo = {(data.place, data.digest): (data, data.missing(cases, again=again)) for data in places}
    for data, _ in todo.values():
        data.check_strangers()
    if check is not None:
        wanted = {case.name for _, missing in todo.values() for case in missing}
        check([case for case in cases if case.name in wanted])
    for data, missing in todo.values():
        if data.is_done(cases, missing):
            logger.info("%s: %d %s cases, already preprocessed", data.place, len(cases), data.which)
            continue
        say(f"{data.configuration}: {described} {resampled_by(data.configuration_manager, purposes=(purpose,))}")
        data.write_missing(cases, missing, processes, progress=progress)
