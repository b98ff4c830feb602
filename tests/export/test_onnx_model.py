"""Networks in the ONNX format compute what torch computes; what cannot be exported is refused."""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from small_unet import GEOMETRIES, small_unet
from torch import Tensor, nn

from nnunet_ext.errors import UserError
from nnunet_ext.export import onnx_model
from nnunet_ext.export.onnx_model import export_onnx, write_network
from nnunet_ext.prediction.trained_model import TrainedModel

WriteModel = Callable[..., Path]


def run(file: Path, patches: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": patches.numpy()})
    return logits


def test_files(write_model: WriteModel, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = write_model(folds=(0, 2), axes=(0, 2), transpose=(1, 2, 0))
    with caplog.at_level(logging.INFO):
        made = export_onnx(model, tmp_path / "onnx", show_progress=False)
    assert sorted(file.name for file in (tmp_path / "onnx").iterdir()) == ["fold_0.onnx", "fold_2.onnx", "model.json"]
    assert [record.getMessage() for record in caplog.records if "onnxruntime" in record.getMessage()] == [
        f"{tmp_path / 'onnx' / f'fold_{fold}.onnx'}: logits of onnxruntime equal torch's" for fold in (0, 2)
    ]
    content = json.loads((tmp_path / "onnx" / "model.json").read_text())
    expected = {
        "format": "nnunet_ext ONNX model",
        "format_version": 1,
        "dataset_name": "Dataset901_Phantom",
        "plans_name": "nnUNetPlans",
        "configuration": "3d_fullres",
        "trainer_name": "nnUNetTrainer",
        "networks": {"0": "fold_0.onnx", "2": "fold_2.onnx"},
        "transpose_forward": [1, 2, 0],
        "transpose_backward": [2, 0, 1],
        "mirroring_axes": [0, 2],
        "heads": 4,
        "batch": None,
        "spacing": [2.0, 1.0, 1.0],
        "patch_size": [8, 16, 12],
        "reader": "SimpleITKIO",
        "file_ending": ".nii.gz",
        "resample_images": {
            "order": 3,
            "order_z": 0,
            "force_separate_z": None,
            "separate_z_anisotropy_threshold": 3,
        },
    }
    assert {name: content[name] for name in expected} == expected
    assert made.networks == expected["networks"]
    trained = TrainedModel.load(model)
    patches = torch.randn(3, 1, 8, 16, 12)
    for fold, weights in zip((0, 2), trained.parameters, strict=True):
        file = tmp_path / "onnx" / f"fold_{fold}.onnx"
        onnx.checker.check_model(onnx.load(file))
        trained.use(weights)
        with torch.inference_mode():
            wanted = trained.network.eval()(patches).numpy()
        np.testing.assert_allclose(run(file, patches), wanted, atol=1e-5 * np.abs(wanted).max())


def test_folds_checkpoints_and_zip_files(write_model: WriteModel, tmp_path: Path) -> None:
    model = write_model(folds=(0, 1))
    best = model / "fold_1" / "checkpoint_best.pth"
    shutil.copy(model / "fold_1" / "checkpoint_final.pth", best)
    assert list(export_onnx(model, tmp_path / "a", ["1"], best.name, show_progress=False).networks) == ["1"]
    archive = Path(shutil.make_archive(str(tmp_path / "model"), "zip", tmp_path / "results"))
    from_zip = export_onnx(archive, tmp_path / "b", show_progress=False)
    from_folder = export_onnx(model, tmp_path / "c", show_progress=False)
    assert list(from_zip.networks) == ["0", "1"]
    assert from_zip == from_folder


def test_an_export_is_not_overwritten(write_model: WriteModel, tmp_path: Path) -> None:
    model = write_model()
    export_onnx(model, tmp_path / "onnx", show_progress=False)
    with pytest.raises(UserError, match=r"onnx: expected no exported model, found model\.json\. Choose another folder"):
        export_onnx(model, tmp_path / "onnx", show_progress=False)


def test_what_fails_leaves_no_model(write_model: WriteModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(folds=(0, 1))
    written = []

    def fails_at_the_second(network: nn.Module, shape: object, file: Path, name: Path) -> bool:
        file.write_bytes(b"half")
        written.append(file)
        if len(written) == 2:
            raise UserError("no")
        return True

    monkeypatch.setattr(onnx_model, "write_network", fails_at_the_second)
    with pytest.raises(UserError):
        export_onnx(model, tmp_path / "onnx", show_progress=False)
    assert [file.name for file in (tmp_path / "onnx").iterdir()] == ["fold_0.onnx"]


def test_networks_of_all_kinds(kind: str, geometry: str, tmp_path: Path) -> None:
    strides, kernels, patch = GEOMETRIES[geometry]
    network = small_unet(kind, strides, kernels, deep_supervision=False, channels=2).eval()
    assert write_network(network, (2, *patch), tmp_path / "a.onnx", tmp_path)
    patches = torch.randn(3, 2, *patch)
    with torch.inference_mode():
        expected = network(patches).numpy()
    np.testing.assert_allclose(run(tmp_path / "a.onnx", patches), expected, atol=1e-5 * np.abs(expected).max())


class OneSample(nn.Module):
    """Knows the batch that it was traced with, like networks that choose a task."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([image, torch.ones(len(image), 1, *image.shape[2:])], 1)


class Sampled(nn.Module):
    """Reads voxels between the grid's, which torch's tracing exporter does not know in 3d."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        grid = nn.functional.affine_grid(0.9 * torch.eye(3, 4)[None], [1, 1, *shape], align_corners=False)
        self.register_buffer("grid", grid)

    def forward(self, image: Tensor) -> Tensor:
        grid = self.grid.expand(image.shape[0], -1, -1, -1, -1)
        return nn.functional.grid_sample(image, grid, align_corners=False)


class Random(nn.Module):
    """Has other logits each time."""

    def forward(self, image: Tensor) -> Tensor:
        return image + torch.rand_like(image)


def test_networks_that_know_one_batch(tmp_path: Path) -> None:
    assert not write_network(OneSample(), (1, 4, 5, 6), tmp_path / "a.onnx", tmp_path)
    assert run(tmp_path / "a.onnx", torch.randn(1, 1, 4, 5, 6)).shape == (1, 2, 4, 5, 6)


def test_operations_that_only_the_other_exporter_knows(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = Sampled((4, 5, 6))
    assert write_network(network, (1, 4, 5, 6), tmp_path / "a.onnx", tmp_path)
    patches = torch.randn(3, 1, 4, 5, 6)
    np.testing.assert_allclose(run(tmp_path / "a.onnx", patches), network(patches).numpy(), atol=1e-5)
    assert capfd.readouterr().out == ""


def test_other_logits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"m: expected a network that can be exported .* got 'logits that differ"):
        write_network(Random(), (1, 4, 5), tmp_path / "a.onnx", Path("m"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preprocessor_name": "CTPreprocessor"}, "preprocessor"),
        ({"resampling_fn_data": "resample_torch_fornnunet"}, "the plans name resample_torch_fornnunet for images"),
        ({"resampling_fn_probabilities": "resample_torch_fornnunet"}, "resample_torch_fornnunet for logits"),
        ({"resampling_fn_data_kwargs": {"is_seg": True}}, "the plans resample images as if they were labels"),
        (
            {"resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 3, "force_separate_z": None}},
            "the plans resample logits with splines of order 3",
        ),
        ({"normalization_schemes": ["OwnNormalization"]}, "the plans name the normalization 'OwnNormalization'"),
        ({"reader": "Tiff3DIO"}, "the plans name the reader 'Tiff3DIO'"),
        ({"previous_stage": "3d_lowres", "channels": 4}, "second stage of a cascade"),
    ],
)
def test_models_that_need_nnunet(
    write_model: WriteModel, tmp_path: Path, settings: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

    if "preprocessor_name" in settings:
        kind = type("CTPreprocessor", (DefaultPreprocessor,), {})
        monkeypatch.setattr(ConfigurationManager, "preprocessor_class", property(lambda self: kind))
    model = write_model(**settings)
    description = json.loads((model / "dataset.json").read_text())  # of the network's 4 channels, 3 are classes
    (model / "dataset.json").write_text(json.dumps(description | {"channel_names": {"0": "CT"}}))
    with pytest.raises(UserError, match=message) as refusal:
        export_onnx(model, tmp_path / "onnx", show_progress=False)
    assert str(refusal.value).startswith(f"{model}: expected a model that can be predicted without nnU-Net, but ")
    assert not (tmp_path / "onnx").exists()


def test_settings_that_the_plans_leave_out_are_nnunets_defaults(write_model: WriteModel, tmp_path: Path) -> None:
    model = write_model(resampling_fn_data_kwargs={}, resampling_fn_probabilities_kwargs={"order": 1, "order_z": 1})
    made = export_onnx(model, tmp_path / "onnx", show_progress=False)
    found = inspect.signature(resample_data_or_seg_to_shape).parameters
    names = [field.name for field in dataclasses.fields(made.resample_images)]
    assert dataclasses.asdict(made.resample_images) == {name: found[name].default for name in names}
    assert dataclasses.asdict(made.resample_logits) == {
        "order": 1,
        "order_z": 1,
        "force_separate_z": False,
        "separate_z_anisotropy_threshold": 3,
    }


def test_intensities_that_are_missing(write_model: WriteModel, tmp_path: Path) -> None:
    model = write_model(normalization_schemes=["CTNormalization"], intensities={"0": {"mean": 1.0}})
    with pytest.raises(UserError, match=r"expected the intensities of channel 0 in plans\.json, found no 'std'"):
        export_onnx(model, tmp_path / "onnx", show_progress=False)
