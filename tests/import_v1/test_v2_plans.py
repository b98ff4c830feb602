"""Plans of v2 for v1's networks: what stock nnU-Net would have planned besides."""

from __future__ import annotations

from pathlib import Path

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from v1_model import KERNELS, unet_weights

from nnunet_ext.import_v1.preprocessing import Preprocessing
from nnunet_ext.import_v1.v1_geometry import V1Geometry
from nnunet_ext.import_v1.v2_plans import v2_plans

PREPROCESSING = Preprocessing([3.0, 1.5, 1.5], ["ZScoreNormalization"], [True], {"0": {}})


def test_resampling_is_stocks_and_the_patch_stands_in_for_an_unknown_shape() -> None:
    sizes = V1Geometry.of(unet_weights(), Path("v1.model"))
    made = v2_plans(
        "Dataset001_A", "3d_lowres", sizes, PREPROCESSING, kernels=KERNELS, patch_size=[4, 8, 8], batch_size=2
    )
    planned = made["configurations"]["3d_lowres"]
    data, data_options, seg, seg_options = ExperimentPlanner.determine_resampling(None)
    logits, logit_options = ExperimentPlanner.determine_segmentation_softmax_export_fn(None)
    assert planned["resampling_fn_data"] == data.__name__
    assert planned["resampling_fn_data_kwargs"] == data_options
    assert planned["resampling_fn_seg"] == seg.__name__
    assert planned["resampling_fn_seg_kwargs"] == seg_options
    assert planned["resampling_fn_probabilities"] == logits.__name__
    assert planned["resampling_fn_probabilities_kwargs"] == logit_options
    assert planned["median_image_size_in_voxels"] == [4, 8, 8]
    assert (made["dataset_name"], made["plans_name"]) == ("Dataset001_A", "V1Plans")
    assert "nnunet_ext" not in made


def test_2d_median_shape_has_no_slices_and_knobs_are_in_their_block() -> None:
    kernels, pools = [[3, 3]] * 3, [[2, 2]] * 2
    sizes = V1Geometry.of(unet_weights(kernels, pools), Path("v1.model"))
    made = v2_plans(
        "Dataset001_A",
        "2d",
        sizes,
        PREPROCESSING,
        kernels=kernels,
        patch_size=[8, 8],
        batch_size=2,
        median_shape=[40, 50, 60],
        knobs={"ba_net": {"v1_decoder_kernels": True}},
    )
    assert made["configurations"]["2d"]["median_image_size_in_voxels"] == [50, 60]
    assert made["original_median_shape_after_transp"] == [40, 50, 60]
    assert made["nnunet_ext"]["ba_net"] == {"v1_decoder_kernels": True}
    assert made["configurations"]["2d"]["architecture"]["arch_kwargs"]["conv_op"] == "torch.nn.modules.conv.Conv2d"
