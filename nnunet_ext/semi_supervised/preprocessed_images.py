"""The preprocessed unlabelled images of one configuration: where they are, what they depend on, how one is written."""

from __future__ import annotations

from typing import ClassVar

from batchgenerators.utilities.file_and_folder_operations import load_pickle, write_pickle

from nnunet_ext.data.image_case import Case
from nnunet_ext.data.preprocessed.data_beside import DataBeside

ENDINGS = (".b2nd", "_seg.b2nd", ".pkl")  # what nnU-Net writes for a case; the last marks it as complete


class UnlabelledData(DataBeside):
    """The preprocessed unlabelled images of one configuration."""

    kind: ClassVar[str] = "unlabelled"
    endings: ClassVar[tuple[str, ...]] = ENDINGS
    what: ClassVar[str] = "unlabelled images"
    which: ClassVar[str] = "unlabelled"

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
        self.take(folder, case)
