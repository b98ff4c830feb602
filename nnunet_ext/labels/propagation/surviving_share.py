"""What nnU-Net's resampling leaves of annotated slices: their neighbours, which are ignored, can erase them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nnunetv2.configuration import ANISO_THRESHOLD
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from numpy.typing import NDArray

from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration

SETTINGS = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}  # of stock planners, for labels


def planned_spacing(spacings: Sequence[Sequence[float]], shapes: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """Return the target spacing that stock nnU-Net plans, but that it counts voxels after cropping empty borders.

    Args:
        spacings: Voxel size of each case in mm (D, H, W).
        shapes: Voxels of each case (D, H, W).
    """
    planner = ExperimentPlanner.__new__(ExperimentPlanner)  # its constructor reads a fingerprint
    planner.dataset_fingerprint = {"spacings": list(spacings), "shapes_after_crop": list(shapes)}
    planner.overwrite_target_spacing, planner.anisotropy_threshold = None, ANISO_THRESHOLD
    return tuple(map(float, planner.determine_fullres_target_spacing()))


def annotated_share(labels: NDArray[Any], ignore: int) -> float:
    """Return the share of voxels that are not ignored."""
    return 1 - float(np.mean(labels == ignore))


def surviving_share(labels: NDArray[Any], ignore: int, spacing: Sequence[float], target: Sequence[float]) -> float:
    """Return the share of voxels that are not ignored after nnU-Net's resampling.

    Args:
        labels: Label map (D, H, W).
        ignore: The ignore label.
        spacing: Voxel size in mm, same axis order.
        target: That of the resampled label map.

    Example:
        >>> labels = np.ones((48, 8, 8), np.int16)
        >>> labels[::4] = 0  # every fourth slice
        >>> surviving_share(labels, 1, (1.0, 1.0, 1.0), (2.0, 1.0, 1.0))
        0.0
    """
    configuration = FastConfiguration(
        {"resampling_fn_seg": "resample_data_or_seg_to_shape", "resampling_fn_seg_kwargs": SETTINGS, "architecture": {}}
    )
    shape = compute_new_shape(labels.shape, spacing, target)
    resampled = configuration.resampling_fn_seg(labels[None], shape, spacing, target)
    return annotated_share(resampled, ignore)
