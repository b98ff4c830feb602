"""``model.json``: all that pre- and postprocessing of an exported model need beside the networks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_object, write_json

FILE = "model.json"
FORMAT = "nnunet_ext ONNX model"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Resampling:
    """How nnU-Net's default function resamples.

    Args:
        order: Of the spline.
        order_z: Of the spline along the axis of thick slices.
        force_separate_z: Whether that axis is resampled on its own; None: if the spacing is anisotropic enough.
        separate_z_anisotropy_threshold: Ratio of largest and smallest spacing above which it is.
    """

    order: int
    order_z: int
    force_separate_z: bool | None
    separate_z_anisotropy_threshold: float


@dataclass(frozen=True)
class Normalization:
    """How the intensities of a channel are normalized.

    Args:
        scheme: nnU-Net's class, such as ``CTNormalization``.
        use_mask: Only voxels of the nonzero region count (``ZScoreNormalization``).
        constants: Of CT: ``mean``, ``std``, ``percentile_00_5``, ``percentile_99_5``.
    """

    scheme: str
    use_mask: bool
    constants: dict[str, float]


@dataclass(frozen=True)
class ModelDescription:
    """Content of ``model.json``; axes are D, H, W in the plans' order, except where ``transpose_forward`` says how.

    Args:
        dataset_name: The dataset.
        plans_name: The plans.
        configuration: The configuration, such as ``3d_fullres``.
        trainer_name: The trainer.
        networks: File of each fold.
        checksums: SHA-256 of each fold's file.
        channel_names: Of the image, by number.
        labels: Of dataset.json: a number, or the numbers of a region.
        regions_class_order: Label of each region, in the order of the network's heads; None: the heads are classes.
        ignore_label: Label of voxels that were not annotated, which the network never predicts; None: no such.
        heads: Channels of the logits.
        file_ending: Of images and label maps.
        reader: nnU-Net's class that reads the images.
        transpose_forward: Axes of the image in the plans' order.
        transpose_backward: The inverse.
        spacing: In mm, of D, H, W, or of H, W for a 2d configuration.
        patch_size: Of the sliding window, in voxels.
        normalization: Of each channel.
        resample_images: How images are resampled.
        resample_logits: How logits are resampled.
        mirroring_axes: Axes of a patch along which is mirrored; None: no mirroring.
        step_size: Of the sliding window by default, in patches.
        gaussian_sigma: Of a window's weights, in patches.
        gaussian_peak: The largest of these weights.
        batch: Patches that the networks take at once; None: any number.
        versions: Of the packages that made it.
    """

    dataset_name: str
    plans_name: str
    configuration: str
    trainer_name: str
    networks: dict[str, str]
    checksums: dict[str, str]
    channel_names: dict[str, str]
    labels: dict[str, int | list[int]]
    regions_class_order: list[int] | None
    ignore_label: int | None
    heads: int
    file_ending: str
    reader: str
    transpose_forward: list[int]
    transpose_backward: list[int]
    spacing: list[float]
    patch_size: list[int]
    normalization: list[Normalization]
    resample_images: Resampling
    resample_logits: Resampling
    mirroring_axes: list[int] | None
    step_size: float
    gaussian_sigma: float
    gaussian_peak: float
    batch: int | None
    versions: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> ModelDescription:
        """Read a folder's ``model.json``.

        Raises:
            UserError: It is missing or damaged, or of a later format.
        """
        file = folder / FILE
        if not file.is_file():
            raise UserError(
                f"{file}: expected that of an exported model, found no file. Give the folder that nnunet_ext "
                f"export_onnx wrote."
            )
        content = read_object(file)
        found = content.get("format"), content.get("format_version")
        if found[0] != FORMAT or not isinstance(found[1], int):
            raise UserError(
                f"{file}: expected the format {FORMAT!r}, found {found[0]!r}, version {found[1]!r}. Give the folder "
                f"that nnunet_ext export_onnx wrote."
            )
        if found[1] != FORMAT_VERSION:
            raise UserError(
                f"{file}: expected format version {FORMAT_VERSION}, found {found[1]}. Use the nnunet_ext that wrote "
                f"it, {content.get('versions', {}).get('nnunet_ext', 'of another version')}, or export the model again."
            )
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in content]:
            raise UserError(f"{file}: expected the entry {missing[0]!r}, found none. Export the model again.")
        values = {name: content[name] for name in names}
        try:
            values["normalization"] = [Normalization(**each) for each in values["normalization"]]
            values |= {name: Resampling(**values[name]) for name in ("resample_images", "resample_logits")}
        except TypeError as error:
            raise UserError(
                f"{file}: expected it as it was exported, found {error}. Export the model again."
            ) from error
        return cls(**values)

    def write(self, folder: Path) -> None:
        """Write ``model.json``, atomically.

        Raises:
            UserError: It could not be written.
        """
        write_json(folder / FILE, {"format": FORMAT, "format_version": FORMAT_VERSION} | asdict(self))

    def network_files(self, folder: Path, folds: Sequence[str] | None = None) -> list[Path]:
        """Return the files of folds, whole as they were exported.

        Args:
            folder: Where ``model.json`` is.
            folds: Names such as ``"0"``; None: all.

        Raises:
            UserError: A fold was not exported, or its file is missing or was changed.
        """
        files = []
        for fold in self.networks if folds is None else folds:
            if fold not in self.networks:
                raise UserError(
                    f"{folder / FILE}: expected fold {fold}, found {', '.join(self.networks)}. Name one of these."
                )
            file = folder / self.networks[fold]
            if not file.is_file():
                raise UserError(f"{file}: expected the network of fold {fold}, found no file. Copy the whole folder.")
            if checksum(file) != self.checksums[fold]:
                raise UserError(
                    f"{file}: expected the file that was exported, found another (SHA-256). Copy it again from where "
                    f"it was exported."
                )
            files.append(file)
        return files

    def metadata(self) -> dict[str, Any]:
        """Return what says what the labels are, in the form of nnU-Net's dataset.json."""
        regions = {} if self.regions_class_order is None else {"regions_class_order": self.regions_class_order}
        return {"channel_names": self.channel_names, "labels": self.labels, "file_ending": self.file_ending} | regions


def checksum(file: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
