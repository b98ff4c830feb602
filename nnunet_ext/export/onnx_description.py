"""What the ONNX runner needs to know of a trained model; models that it cannot predict are refused."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nnunetv2.configuration import ANISO_THRESHOLD
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

from nnunet_ext import __version__
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.onnx_runner.image_io import READERS
from nnunet_ext.onnx_runner.model_description import ModelDescription, Normalization, Resampling
from nnunet_ext.onnx_runner.normalization import CT_CONSTANTS, SCHEMES
from nnunet_ext.prediction.stock_reasons import reason_for_stock
from nnunet_ext.prediction.trained_model import TrainedModel

# nnU-Net's predictor has these as constants
STEP_SIZE, GAUSSIAN_SIGMA, GAUSSIAN_PEAK = 0.5, 1 / 8, 10.0
PACKAGES = ("nnunetv2", "torch", "onnx", "onnxruntime")


def onnx_description(
    model: TrainedModel, name: Path, networks: Mapping[str, tuple[str, str]], batch: int | None
) -> ModelDescription:
    """Return the description of a model for the ONNX runner.

    Args:
        model: The model.
        name: Its folder or file, for messages.
        networks: File name and SHA-256 of each fold.
        batch: Patches that the networks take at once; None: any number.

    Raises:
        UserError: See :func:`check_expressible`.
    """
    check_expressible(model, name)
    plans, labels = model.plans_manager, model.label_manager
    channel_names = model.dataset_json.get("channel_names", model.dataset_json.get("modality", {}))
    return ModelDescription(
        dataset_name=str(plans.dataset_name),
        plans_name=str(plans.plans_name),
        configuration=model.configuration_name,
        trainer_name=model.trainer_name,
        networks={fold: file for fold, (file, _) in networks.items()},
        checksums={fold: digest for fold, (_, digest) in networks.items()},
        channel_names={str(number): str(channel) for number, channel in channel_names.items()},
        labels={key: _numbers(value) for key, value in model.dataset_json["labels"].items()},
        regions_class_order=[int(label) for label in labels.regions_class_order] if labels.has_regions else None,
        ignore_label=labels.ignore_label,
        heads=labels.num_segmentation_heads,
        file_ending=model.file_ending,
        reader=plans.plans["image_reader_writer"],
        transpose_forward=[int(axis) for axis in plans.transpose_forward],
        transpose_backward=[int(axis) for axis in plans.transpose_backward],
        spacing=[float(step) for step in model.configuration.spacing],
        patch_size=[int(size) for size in model.configuration.patch_size],
        normalization=_normalization(model, name),
        resample_images=_resampling(model, "data"),
        resample_logits=_resampling(model, "probabilities"),
        mirroring_axes=None if model.mirroring_axes is None else list(model.mirroring_axes),
        step_size=STEP_SIZE,
        gaussian_sigma=GAUSSIAN_SIGMA,
        gaussian_peak=GAUSSIAN_PEAK,
        batch=batch,
        versions={"nnunet_ext": __version__} | {package: version(package) for package in PACKAGES},
    )


def check_expressible(model: TrainedModel, name: Path) -> None:
    """Refuse a model that the ONNX runner would not predict as nnU-Net does.

    Raises:
        UserError: It has a preprocessor, resampler, normalization, reader or label manager of its own, or is the second
            stage of a cascade.
    """
    plans, planned = model.plans_manager.plans, model.configuration
    reason = reason_for_stock(plans, model.dataset_json, model.configuration_name)
    if reason is None and planned.preprocessor_class is not DefaultPreprocessor:
        reason = f"the plans name the preprocessor {planned.preprocessor_name}"
    if reason is None and (of_images := planned.reason_for_stock("data")) is not None:
        reason = f"{of_images} for images"
    if reason is None and planned.configuration["resampling_fn_data_kwargs"].get("is_seg", False):
        reason = "the plans resample images as if they were labels"
    if reason is None:
        named = [("reader", plans["image_reader_writer"], list(READERS))]
        named += [("normalization", scheme, list(SCHEMES)) for scheme in planned.normalization_schemes]
        unknown = [(kind, word, legal) for kind, word, legal in named if word not in legal]
        if unknown:
            kind, word, legal = unknown[0]
            reason = f"the plans name the {kind} {word!r}. {nearest(str(word), legal)}"
    if reason is not None:
        raise UserError(
            f"{name}: expected a model that can be predicted without nnU-Net, but {reason.rstrip('.')}. Predict with "
            f"nnunet_ext predict."
        )


def _normalization(model: TrainedModel, name: Path) -> list[Normalization]:
    planned = model.configuration
    properties = model.plans_manager.foreground_intensity_properties_per_channel
    found = []
    for channel, (scheme, masked) in enumerate(
        zip(planned.normalization_schemes, planned.use_mask_for_norm, strict=True)
    ):
        constants: dict[str, float] = {}
        if scheme == "CTNormalization":
            intensities = properties.get(str(channel), {})
            if missing := [key for key in CT_CONSTANTS if key not in intensities]:
                raise UserError(
                    f"{name}: expected the intensities of channel {channel} in plans.json, found no {missing[0]!r}. "
                    f"Restore the plans of the training."
                )
            constants = {key: float(intensities[key]) for key in CT_CONSTANTS}
        found.append(Normalization(scheme, bool(masked), constants))
    if len(found) != model.channels:
        raise UserError(
            f"{name}: expected a normalization for each of {model.channels} channels in plans.json, found "
            f"{len(found)}. Restore the plans of the training."
        )
    return found


def _resampling(model: TrainedModel, purpose: str) -> Resampling:
    """Return the settings of nnU-Net's default function, with its defaults for those that the plans leave out."""
    settings: dict[str, Any] = model.configuration.configuration[f"resampling_fn_{purpose}_kwargs"]
    return Resampling(
        order=settings.get("order", 3),
        order_z=settings.get("order_z", 0),
        force_separate_z=settings.get("force_separate_z", False),
        separate_z_anisotropy_threshold=settings.get("separate_z_anisotropy_threshold", ANISO_THRESHOLD),
    )


def _numbers(label: Any) -> int | list[int]:
    return [int(number) for number in label] if isinstance(label, list | tuple) else int(label)
