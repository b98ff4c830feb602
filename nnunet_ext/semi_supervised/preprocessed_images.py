"""The preprocessed unlabelled images of one configuration: where they are, what they depend on, how one is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import load_pickle, write_pickle
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.data.companion_files import files_of
from nnunet_ext.data.dataset_json import read_dataset_json
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.preprocessed.data_hash import preprocessing_hash
from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration
from nnunet_ext.data.preprocessed.marker import DataMarker
from nnunet_ext.files.file_stamp import FileStamp, changed_file

ENDINGS = (".b2nd", "_seg.b2nd", ".pkl")  # what nnU-Net writes for a case; the last marks it as complete


@dataclass(frozen=True)
class UnlabelledData:
    """The preprocessed unlabelled images of one configuration.

    Args:
        folder: The dataset's folder in nnUNet_preprocessed.
        plans: The plans.
        configuration: Name of the configuration.
        stock_resampling: Resample with nnU-Net's functions, which take longer and have the same results.
    """

    folder: Path
    plans: Mapping[str, Any]
    configuration: str
    stock_resampling: bool = False

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
        """Return the cases that are missing, not intact, or older than their images.

        Args:
            cases: All cases.
            again: Return all cases.
        """
        if again or self.marker.digest() != self.digest:
            return list(cases)
        sizes, sources = self.marker.sizes(), self.marker.sources()
        return [case for case in cases if not self._is_whole(case, sizes, sources)]

    def stamps(self, cases: Sequence[Case]) -> dict[str, Any]:
        """Return the identity of the cases' images, for the marker."""
        return {case.name: [FileStamp.of(image).as_json() for image in files_of(case)] for case in cases}

    def _is_whole(self, case: Case, sizes: Mapping[str, int], sources: Mapping[str, Any]) -> bool:
        files = self.files(case)
        if not all(
            file.is_file() and file.stat().st_size == sizes.get(file.name, file.stat().st_size) for file in files
        ):
            return False
        if case.name in sources:
            return changed_file(files_of(case), sources[case.name]) is None
        written = files[-1].stat().st_mtime_ns  # earlier versions recorded no image
        return all(image.stat().st_mtime_ns <= written for image in files_of(case))

    def files(self, case: Case) -> list[Path]:
        """Return the files of a case, which need not exist."""
        return [self.place / f"{case.name}{ending}" for ending in ENDINGS]

    def write(self, case: Case) -> None:
        """Preprocess one case with nnU-Net's preprocessor."""
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
