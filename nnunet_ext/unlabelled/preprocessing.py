"""Preprocess unlabelled images by the plans of the labelled ones, into a folder of their own.

nnU-Net trains on every case in its data folder and would take a case without a label as background only. So these lie
beside it, in ``<data_identifier>_unlabelled``, with a marker (:mod:`nnunet_ext.base.data_marker`): other plans, other
labels or missing files are noticed before anything is trained on them.

A case's files are written elsewhere and then moved, ``.pkl`` last, so a run that was killed goes on where it was.
"""

from __future__ import annotations

import logging
import multiprocessing
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import load_pickle, write_pickle
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from tqdm import tqdm

from nnunet_ext.base.data_marker import DataMarker
from nnunet_ext.base.image_check import Case
from nnunet_ext.base.json_file import read_json
from nnunet_ext.base.preprocessing_hash import preprocessing_hash
from nnunet_ext.errors import UserError
from nnunet_ext.unlabelled.images_un import check_images_un, find_unlabelled

ENDINGS = (".b2nd", "_seg.b2nd", ".pkl")  # what nnU-Net writes of a case; the last says that it is whole
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnlabelledData:
    """The preprocessed unlabelled images of one configuration.

    Args:
        folder: The data set's folder in nnUNet_preprocessed.
        plans: The plans.
        configuration: Name of the configuration.
    """

    folder: Path
    plans: Mapping[str, Any]
    configuration: str

    @property
    def place(self) -> Path:
        """The folder that holds them, which need not exist."""
        return self.folder / f"{self.configuration_manager.data_identifier}_unlabelled"

    @cached_property
    def plans_manager(self) -> PlansManager:
        """nnU-Net's form of the plans."""
        return PlansManager(dict(self.plans))

    @cached_property
    def configuration_manager(self) -> ConfigurationManager:
        """nnU-Net's form of the configuration."""
        return self.plans_manager.get_configuration(self.configuration)

    @cached_property
    def dataset_json(self) -> dict[str, Any]:
        """The dataset.json that the labelled cases were preprocessed with."""
        return read_json(self.folder / "dataset.json")

    @cached_property
    def digest(self) -> str:
        """What preprocessing depends on."""
        return preprocessing_hash(self.folder, self.plans, self.configuration_manager.configuration)

    @property
    def marker(self) -> DataMarker:
        """Says what is there."""
        return DataMarker(self.place)

    @property
    def partial(self) -> Path:
        """Where cases are written."""
        return self.place.with_name(f"{self.place.name}.partial")

    @property
    def is_cascade(self) -> bool:
        """Whether the configuration takes another's predictions as input, which unlabelled images do not have."""
        return self.configuration_manager.previous_stage_name is not None

    @property
    def class_locations(self) -> dict[int | tuple[int, ...], list]:
        """An empty list for each key that nnU-Net's loader may ask for: labels or regions, and what is annotated."""
        labels = self.plans_manager.get_label_manager(self.dataset_json)
        keys = list(labels.foreground_regions if labels.has_regions else labels.foreground_labels)
        if labels.has_ignore_label:
            keys.append([-1, *labels.all_labels])
        return {tuple(map(int, key)) if isinstance(key, tuple | list) else int(key): [] for key in keys}

    def missing(self, cases: Sequence[Case], *, again: bool = False) -> list[Case]:
        """Return the cases that are not there, not whole, or older than their images.

        Args:
            cases: All cases.
            again: Take none as there.
        """
        if again or self.marker.digest() != self.digest:
            return list(cases)
        sizes = self.marker.sizes()
        return [case for case in cases if not self._is_whole(case, sizes)]

    def _is_whole(self, case: Case, sizes: Mapping[str, int]) -> bool:
        files = self.files(case)
        if not all(
            file.is_file() and file.stat().st_size == sizes.get(file.name, file.stat().st_size) for file in files
        ):
            return False
        written = files[-1].stat().st_mtime_ns
        return all(image.stat().st_mtime_ns <= written for image in case.images)

    def files(self, case: Case) -> list[Path]:
        """Return the files of a case, which need not exist."""
        return [self.place / f"{case.name}{ending}" for ending in ENDINGS]

    def write(self, case: Case) -> None:
        """Preprocess one case by nnU-Net's preprocessor."""
        folder = self.partial / case.name
        folder.mkdir()
        self.configuration_manager.preprocessor_class(verbose=False).run_case_save(
            str(folder / case.name),
            [str(image) for image in case.images],
            None,
            self.plans_manager,
            self.configuration_manager,
            self.dataset_json,
        )
        properties = str(folder / f"{case.name}{ENDINGS[-1]}")
        write_pickle(load_pickle(properties) | {"class_locations": self.class_locations}, properties)
        for file in self.files(case):
            (folder / file.name).replace(file)
        folder.rmdir()


def preprocess_unlabelled(
    raw_folder: Path,
    preprocessed_folder: Path,
    plans: Mapping[str, Any],
    *configurations: str,
    processes: int = 1,
    progress: bool = True,
    again: bool = False,
    check: bool = True,
) -> None:
    """Preprocess what is missing of a data set's unlabelled images; remove cases whose images are gone.

    Second stages of a cascade are passed over.

    Args:
        raw_folder: The data set's folder in nnUNet_raw.
        preprocessed_folder: Its folder in nnUNet_preprocessed.
        plans: Its plans.
        *configurations: Names of configurations.
        processes: Worker processes; 1 stays in this process.
        progress: Show progress bars.
        again: Preprocess also what is there.
        check: Read all images first.

    Raises:
        UserError: Images are missing or wrong, or a worker was killed; what was done by then stays.
    """
    cases = find_unlabelled(raw_folder)
    places = [UnlabelledData(preprocessed_folder, plans, name) for name in configurations]
    todo = [(data, data.missing(cases, again=again)) for data in places if not data.is_cascade]
    if check:
        wanted = {case.name for _, missing in todo for case in missing}
        check_images_un(raw_folder, [case for case in cases if case.name in wanted], show_progress=progress)
    for data, missing in todo:
        if not missing and data.marker.problem(data.digest) is None and data.marker.cases() == _names(cases):
            logger.info("%s: %d unlabelled cases, preprocessed already", data.place, len(cases))
            continue
        _prepare(data, cases, missing)
        _write_all(data, missing, processes, progress)
        shutil.rmtree(data.partial)
        data.marker.finish(data.digest)


def check_unlabelled(preprocessed_folder: Path, plans: Mapping[str, Any], configuration: str) -> list[str]:
    """Return the names of the preprocessed unlabelled cases.

    Args:
        preprocessed_folder: The data set's folder in nnUNet_preprocessed.
        plans: The plans.
        configuration: Name of the configuration.

    Raises:
        UserError: They were never preprocessed, not all of them, by other plans, or their files were changed.
    """
    data = UnlabelledData(preprocessed_folder, plans, configuration)
    problem = data.marker.problem(data.digest)
    if problem is not None:
        raise UserError(
            f"{data.place}: expected preprocessed unlabelled images of plans {plans['plans_name']!r}, {problem}. Run "
            f"nnunet_ext preprocess_unlabelled -d {int(plans['dataset_name'][7:10])} -p {plans['plans_name']} "
            f"-c {configuration}"
        )
    return data.marker.cases()


def _names(cases: Sequence[Case]) -> list[str]:
    return sorted(case.name for case in cases)


def _prepare(data: UnlabelledData, cases: Sequence[Case], missing: Sequence[Case]) -> None:
    """Leave nothing in the folder but whole cases, then say that it is not complete."""
    shutil.rmtree(data.partial, ignore_errors=True)  # left by a run that was killed
    data.partial.mkdir()
    data.place.mkdir(exist_ok=True)
    undone = {case.name for case in missing}
    kept = {file.name for case in cases if case.name not in undone for file in data.files(case)}
    for file in data.place.iterdir():
        if file.name not in kept:
            file.unlink()
    data.marker.begin(data.digest)  # after the last file of other plans is gone


def _write_all(data: UnlabelledData, cases: Sequence[Case], processes: int, progress: bool) -> None:
    title = f"preprocessing unlabelled images, {data.configuration}"
    try:
        for _ in tqdm(_written(data, cases, min(processes, len(cases))), title, len(cases), disable=not progress):
            pass
    except BrokenProcessPool as error:
        raise UserError(
            f"{data.place}: expected to preprocess with {processes} processes, one was killed: the memory is probably "
            f"too small. Run it again with -np 1: what is done stays."
        ) from error


def _written(data: UnlabelledData, cases: Sequence[Case], processes: int) -> Iterator[None]:
    """Write cases, and yield after each."""
    if processes <= 1:
        yield from map(data.write, cases)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(data.write, case) for case in cases]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)
