"""Boundary maps come back in the image's own geometry."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from batchgenerators.utilities.file_and_folder_operations import save_json
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext import sockets
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.boundary_map import boundary_maps
from nnunet_ext.methods.ba_net.trainer import BANetTrainer
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer

RESAMPLING = "resample_data_or_seg_to_shape"
KWARGS = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
ARCHITECTURE = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 3,
        "features_per_stage": [4, 6, 8],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
    },
    "_kw_requires_import": ["conv_op", "norm_op", "nonlin"],
}
CONFIGURATION = {
    "data_identifier": "none",
    "preprocessor_name": "DefaultPreprocessor",
    "batch_size": 2,
    "patch_size": [4, 8, 12],
    "spacing": [2.0, 1.0, 1.0],
    "normalization_schemes": ["ZScoreNormalization"],
    "use_mask_for_norm": [False],
    "resampling_fn_data": RESAMPLING,
    "resampling_fn_seg": RESAMPLING,
    "resampling_fn_probabilities": RESAMPLING,
    "resampling_fn_data_kwargs": KWARGS,
    "resampling_fn_seg_kwargs": KWARGS | {"is_seg": True},
    "resampling_fn_probabilities_kwargs": KWARGS,
    "architecture": ARCHITECTURE,
    "batch_dice": False,
}
# the coarse axis of the files is their second; nnU-Net puts it first
PLANS = {
    "dataset_name": "Dataset999_Test",
    "plans_name": "TestPlans",
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [1, 0, 2],
    "transpose_backward": [1, 0, 2],
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {"0": {}},
    "configurations": {"3d_fullres": CONFIGURATION},
}
DATASET = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1, "b": 2}, "file_ending": ".nii.gz"}


@pytest.fixture
def make_model(tmp_path, monkeypatch):
    """Write a model folder of an untrained network, as nnU-Net does, and return (folder, network)."""
    monkeypatch.setenv(sockets.VARIABLE, "")

    def make(trainer):
        plans = PlansManager(PLANS)
        torch.manual_seed(0)
        network = trainer.build_network_architecture(plans, plans.get_configuration("3d_fullres"), 1, 3, False)
        (tmp_path / "fold_0").mkdir()
        save_json(PLANS, str(tmp_path / "plans.json"))
        save_json(DATASET, str(tmp_path / "dataset.json"))
        checkpoint = {
            "trainer_name": trainer.__name__,
            "init_args": {"configuration": "3d_fullres"},
            "inference_allowed_mirroring_axes": None,
            "network_weights": network.state_dict(),
        }
        torch.save(checkpoint, tmp_path / "fold_0" / "checkpoint_final.pth")
        return tmp_path, network

    return make


def write_image(file, array, spacing):
    """Write (D, H, W) with spacing in mm in the same order."""
    nibabel.save(nibabel.Nifti1Image(array.T, np.diag([*reversed(spacing), 1.0])), file)


def test_the_map_is_the_networks_in_the_images_own_axes(make_model, tmp_path):
    model, network = make_model(BANetTrainer)
    image = np.random.default_rng(0).normal(5, 1, (8, 4, 12)).astype(np.float32)  # one patch, target spacing
    write_image(tmp_path / "x_0000.nii.gz", image, (1.0, 2.0, 1.0))
    (found,) = boundary_maps(model, [[tmp_path / "x_0000.nii.gz"]])
    normalized = torch.as_tensor((image - image.mean()) / image.std()).permute(1, 0, 2)
    with torch.no_grad():
        expected = network.train()(normalized[None, None]).boundary.softmax(1)[0, 1].permute(1, 0, 2)
    assert found.shape == (8, 4, 12)
    assert found.std() > 0.01
    np.testing.assert_allclose(found, expected, atol=2e-3)  # nnU-Net adds patches up in half precision


def test_batch_norm_stays_in_eval_mode(make_model, tmp_path, monkeypatch):
    """Else each window would be normalized by its own statistics, and move those of the network."""
    monkeypatch.setitem(ARCHITECTURE["arch_kwargs"], "norm_op", "torch.nn.modules.batchnorm.BatchNorm3d")
    model, network = make_model(BANetTrainer)
    image = np.random.default_rng(0).normal(5, 1, (8, 4, 12)).astype(np.float32)
    write_image(tmp_path / "x_0000.nii.gz", image, (1.0, 2.0, 1.0))
    (found,) = boundary_maps(model, [[tmp_path / "x_0000.nii.gz"]])
    normalized = torch.as_tensor((image - image.mean()) / image.std()).permute(1, 0, 2)
    network.eval().training = True  # boundaries are returned; the norms are in eval mode
    with torch.no_grad():
        expected = network(normalized[None, None]).boundary.softmax(1)[0, 1].permute(1, 0, 2)
        of_batch = network.train()(normalized[None, None]).boundary.softmax(1)[0, 1].permute(1, 0, 2)
    assert (expected - of_batch).abs().max() > 0.02
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_cropping_and_resampling_are_undone(make_model, tmp_path):
    model, network = make_model(BANetTrainer)
    for layer in network.boundary_decoder.boundary_layers:
        torch.nn.init.zeros_(layer.weight)  # every voxel: one half
    checkpoint = torch.load(model / "fold_0" / "checkpoint_final.pth", weights_only=False)
    torch.save(checkpoint | {"network_weights": network.state_dict()}, model / "fold_0" / "checkpoint_final.pth")
    image = np.zeros((20, 7, 30), np.float32)
    image[3:17, 1:6, 4:28] = np.random.default_rng(0).normal(5, 1, (14, 5, 24))
    write_image(tmp_path / "x_0000.nii.gz", image, (0.7, 2.6, 0.7))
    (found,) = boundary_maps(model, [[tmp_path / "x_0000.nii.gz"]])
    np.testing.assert_allclose(found, np.where(image > 0, 0.5, 0.0), atol=1e-3)


def test_a_network_without_boundaries(make_model):
    model, _ = make_model(NNUNetBaselineTrainer)
    assert boundary_maps(model, [[model / "never_read.nii.gz"]]) is None


def test_a_model_that_would_run_code(make_model):
    """Its plans and its checkpoint are looked at before nnU-Net builds the network."""
    model, _ = make_model(NNUNetBaselineTrainer)
    text = json.dumps(PLANS)
    (model / "plans.json").write_text(text.replace("torch.nn.LeakyReLU", "subprocess.Popen"))
    with pytest.raises(UserError, match=r"plans\.json: expected classes of networks, .* names 'subprocess\.Popen'"):
        boundary_maps(model, [])
    (model / "plans.json").write_text(text)
    assert boundary_maps(model, []) is None
    file = model / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(file, weights_only=False) | {"odd": Path("a")}, file)
    with pytest.raises(UserError, match=r"checkpoint_final\.pth: expected only weights, .* asks for pathlib"):
        boundary_maps(model, [])
