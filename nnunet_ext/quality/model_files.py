"""What a model says about the data that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.data.dataset_json import is_collection, with_numbers
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_object
from nnunet_ext.foreign.zip_file import ForeignZip
from nnunet_ext.stock.folders import if_there

NAMES = PLANS, DATASET, FINGERPRINT = "plans.json", "dataset.json", "dataset_fingerprint.json"
INTENSITIES = "foreground_intensity_properties_per_channel"
LARGEST = 1 << 28  # bytes of a JSON file in a zip file


@dataclass(frozen=True)
class ModelFiles:
    """The JSON files of a trained model; no weights are read.

    Args:
        plans: plans.json.
        dataset_json: dataset.json, with labels as numbers.
        fingerprint: dataset_fingerprint.json of the model, else of its preprocessed dataset, else what the plans say
            about intensities.
    """

    plans: dict[str, Any]
    dataset_json: dict[str, Any]
    fingerprint: dict[str, Any]

    @classmethod
    def read(cls, model: Path) -> ModelFiles:
        """Read them.

        Args:
            model: Folder ``TRAINER__PLANS__CONFIGURATION``, or a zip file by ``nnUNetv2_export_model_to_zip``.

        Raises:
            UserError: There is no model, it is that of a collection or of a dataset without a class, or a file of it is
                damaged.
        """
        if not model.exists():
            raise UserError(f"{model}: expected a trained model, found none. Give its folder or its zip file.")
        found = _from_folder(model) if model.is_dir() else _from_zip(model)
        dataset_json = found[DATASET]
        if is_collection(dataset_json):
            raise UserError(
                f"{model}: expected the model of one dataset, found that of a collection. Give a task's view of it."
            )
        dataset_json = with_numbers(dataset_json, model / DATASET)
        if not foreground_classes(dataset_json):
            raise UserError(
                f"{model}: expected a model that segments classes, found one of a dataset without any, which is "
                f"pre-trained. Give the model that predicted."
            )
        return cls(found[PLANS], dataset_json, found.get(FINGERPRINT) or _preprocessed_fingerprint(found[PLANS]))

    @property
    def dataset(self) -> str:
        """Name of the dataset, such as ``Dataset004_Hippocampus``."""
        return str(self.plans.get("dataset_name", ""))

    @property
    def file_ending(self) -> str:
        """Ending of images and label maps, such as ``.nii.gz``."""
        return str(self.dataset_json["file_ending"])

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return len(self.dataset_json.get("channel_names", self.dataset_json.get("modality", ())))

    @property
    def normalization(self) -> list[str]:
        """Normalization scheme of each channel; nnU-Net plans the same for all configurations."""
        configurations = self.plans.get("configurations", {}).values()
        return next((list(each["normalization_schemes"]) for each in configurations if _normalizes(each)), [])


def _normalizes(configuration: dict[str, Any]) -> bool:
    return "normalization_schemes" in configuration


def _from_folder(model: Path) -> dict[str, dict[str, Any]]:
    for name in (PLANS, DATASET):
        if not (model / name).is_file():
            raise UserError(
                f"{model / name}: expected that of a trained model, found no file. Give the folder that holds fold_0."
            )
    names = [name for name in NAMES if (model / name).is_file()]
    return {name: read_object(model / name) for name in names}


def _from_zip(file: Path) -> dict[str, dict[str, Any]]:
    with ForeignZip(file, of="model") as archive, TemporaryDirectory(prefix="nnunet_ext_qa_") as folder:
        paths = {PurePosixPath(name): name for name in archive.names}
        models = [path.parent for path in paths if path.name == PLANS and path.parent / DATASET in paths]
        # results of a cross-validation have both files as well
        trained = [model for model in models if any(path.parent.parent == model for path in paths)]
        if len(trained) != 1:
            found = ", ".join(sorted(map(str, trained))) or "none"
            raise UserError(f"{file}: expected one model in the zip file, found {found}. Give a model's folder.")
        wanted = [name for path, name in paths.items() if path.parent == trained[0] and path.name in NAMES]
        if large := [name for name in wanted if archive.size(name) > LARGEST]:
            raise UserError(
                f"{file}: expected {large[0]} to be a small file, found more than 256 MiB. Do not use this file."
            )
        archive.extract(wanted, Path(folder))
        try:
            return _from_folder(Path(folder) / trained[0])
        except UserError as error:
            raise UserError(f"{file}: {str(error).removeprefix(f'{folder}/')}") from error


def _preprocessed_fingerprint(plans: dict[str, Any]) -> dict[str, Any]:
    preprocessed = if_there("nnUNet_preprocessed")
    if preprocessed is not None and plans.get("dataset_name"):
        file = preprocessed / str(plans["dataset_name"]) / FINGERPRINT
        if file.is_file():
            return read_object(file)
    return {INTENSITIES: plans[INTENSITIES]} if INTENSITIES in plans else {}
