"""Small models with random weights, images for them, and a comparison with nnU-Net's predictor."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray
from scipy import ndimage
from small_unet import planned_unet

LINEAR = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
RESAMPLING = {
    "data": LINEAR | {"order": 3},
    "seg": LINEAR | {"is_seg": True},
    "probabilities": LINEAR,
}
LABELS: dict[str, Any] = {"background": 0, "organ": 1, "wall": 2, "tumour": 3}
STRIDES = [[1, 1, 1], [2, 2, 2], [1, 2, 2]]


def _plans(
    configuration: dict[str, Any], transpose: list[int], reader: str, intensities: dict[str, Any]
) -> dict[str, Any]:
    flat = len(configuration["patch_size"]) == 2
    architecture = planned_unet([stride[1:] for stride in STRIDES] if flat else STRIDES)
    if flat:
        text = json.dumps(architecture).replace("Conv3d", "Conv2d").replace("Norm3d", "Norm2d")
        architecture = json.loads(text.replace("[3, 3, 3]", "[3, 3]"))
    normalization = {"normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [False]}
    resampling: dict[str, Any] = {f"resampling_fn_{name}": "resample_data_or_seg_to_shape" for name in RESAMPLING}
    resampling |= {f"resampling_fn_{name}_kwargs": copy.deepcopy(kwargs) for name, kwargs in RESAMPLING.items()}
    planned = {"data_identifier": "data", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2}
    planned |= normalization | resampling | {"architecture": architecture, "batch_dice": False} | configuration
    return {
        "dataset_name": "Dataset901_Phantom",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": reader,
        "label_manager": "LabelManager",
        "transpose_forward": transpose,
        "transpose_backward": [transpose.index(axis) for axis in range(3)],
        "foreground_intensity_properties_per_channel": intensities,
        "configurations": {"2d" if flat else "3d_fullres": planned},
    }


def write_small_model(
    results: Path,
    *,
    labels: dict[str, Any] | None = None,
    order: list[int] | None = None,
    folds: tuple[int | str, ...] = (0,),
    axes: tuple[int, ...] | None = (0, 1, 2),
    transpose: tuple[int, int, int] = (0, 1, 2),
    reader: str = "SimpleITKIO",
    ending: str = ".nii.gz",
    channels: int = 1,
    intensities: dict[str, Any] | None = None,
    **configuration: Any,
) -> Path:
    """Write a model of Dataset901_Phantom as nnUNetTrainer saves it, with random weights.

    Args:
        results: The folder nnUNet_results.
        labels: Of dataset.json; by default three classes.
        order: ``regions_class_order``.
        folds: Each has other weights.
        axes: Along which the training mirrored.
        transpose: ``transpose_forward`` of the plans.
        reader: nnU-Net's reader.
        ending: File ending.
        channels: Of images.
        intensities: ``foreground_intensity_properties_per_channel`` of the plans.
        **configuration: Entries of the configuration; it is 2d if patch_size has two entries.

    Returns:
        The model's folder.
    """
    configuration = {"patch_size": [8, 16, 12], "spacing": [2.0, 1.0, 1.0]} | configuration
    intensities = intensities or {str(number): {} for number in range(channels)}
    made = _plans(configuration, list(transpose), reader, intensities)
    name = next(iter(made["configurations"]))
    folder = results / "Dataset901_Phantom" / f"nnUNetTrainer__nnUNetPlans__{name}"
    names = {str(number): f"MR {number}" if number else "CT" for number in range(channels)}
    description = {"channel_names": names, "labels": labels or LABELS, "numTraining": 1}
    description |= {"file_ending": ending} | ({} if order is None else {"regions_class_order": order})
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(made))
    (folder / "dataset.json").write_text(json.dumps(description))
    manager = PlansManager(made)
    heads = manager.get_label_manager(description).num_segmentation_heads
    flat = len(configuration["patch_size"]) == 2
    for number, fold in enumerate(folds):
        torch.manual_seed(number)
        network = nnUNetTrainer.build_network_architecture(
            manager, manager.get_configuration(name), channels, heads, enable_deep_supervision=False
        )
        for parameter in network.decoder.seg_layers.parameters():
            parameter.data *= 20  # random logits are nearly equal
        checkpoint = {
            "network_weights": network.state_dict(),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": name},
            "inference_allowed_mirroring_axes": axes[:2] if flat and axes else axes,
        }
        (folder / f"fold_{fold}").mkdir()
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def phantom(shape: tuple[int, ...] = (14, 30, 26), *, seed: int = 0, border: int = 0) -> NDArray[np.float32]:
    """A smooth random image (1, D, H, W), 0 in a border that nnU-Net crops."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), [1, 2, 2])
    image = np.zeros((1, *shape), np.float32)
    inside = tuple(slice(border, size - border) for size in shape)
    image[0][inside] = (100 * noise / noise.std() + 10)[inside]
    return image


def write_image(file: Path, image: NDArray[np.float32], spacing: tuple[float, float, float]) -> None:
    """Write an image (D, H, W)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image.transpose(2, 1, 0), np.diag([*spacing[::-1], 1.0])), file)


def stock(model: Path, folds: tuple[int | str, ...] | None = (0,), **options: Any) -> nnUNetPredictor:
    """nnU-Net's own predictor."""
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False, **options)
    predictor.initialize_from_trained_model_folder(str(model), folds)
    return predictor


def assert_labels_of(
    predictor: nnUNetPredictor,
    found: NDArray[Any],
    image: NDArray[np.float32],
    spacing: tuple[float, ...],
    *,
    within: float = 1,
) -> None:
    """Refuse labels other than nnU-Net's, but where its two logits differ by no more than a step of fp16.

    Args:
        predictor: nnU-Net's.
        found: Labels (D, H, W) of the image.
        image: (1, D, H, W).
        spacing: Of D, H, W.
        within: Steps of fp16.
    """
    plans_manager, configuration = predictor.plans_manager, predictor.configuration_manager
    preprocessor = configuration.preprocessor_class(verbose=False)
    properties = {"spacing": list(spacing)}
    data, _, properties = preprocessor.run_case_npy(
        image, None, properties, plans_manager, configuration, predictor.dataset_json
    )
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    parts = (plans_manager, configuration, predictor.label_manager, properties)
    expected = convert_predicted_logits_to_segmentation_with_correct_shape(logits, *parts)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape == image.shape[1:]
    assert len(np.unique(expected)) > 1, "a label map of one label shows nothing"
    differ = found != expected
    if not differ.any():
        return
    steps = [spacing[axis] for axis in plans_manager.transpose_forward]
    planned = configuration.spacing if len(configuration.spacing) == 3 else [steps[0], *configuration.spacing]
    shape = properties["shape_after_cropping_and_before_resampling"]
    resampled = np.asarray(configuration.resampling_fn_probabilities(logits, shape, planned, steps))
    whole = np.full((len(resampled), *properties["shape_before_cropping"]), np.nan, np.float16)
    whole[(slice(None), *(slice(*ends) for ends in properties["bbox_used_for_cropping"]))] = resampled
    whole = whole.transpose([0, *(axis + 1 for axis in plans_manager.transpose_backward)])
    for place in zip(*np.nonzero(differ), strict=True):
        there = whole[(slice(None), *place)].astype(float)
        if predictor.label_manager.has_regions:
            gap, size = np.abs(there).min(), 2.0**-11  # a sigmoid above 0.5
        else:
            pair = there[[found[place], expected[place]]]
            gap, size = abs(pair[0] - pair[1]), float(np.spacing(np.float16(np.abs(pair).max())))
        assert gap <= within * size, (
            f"{place}: {found[place]} instead of {expected[place]}, whose logits differ by {gap}"
        )
    assert differ.mean() < 1e-3
