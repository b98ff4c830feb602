"""The labels of nnU-Net's predictor, for every kind of model and image."""

from __future__ import annotations

import gzip
import inspect
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from small_model import LINEAR, assert_labels_of, phantom, stock, write_image

from nnunet_ext.errors import UserError
from nnunet_ext.prediction import Predictor
from nnunet_ext.prediction.stages import Stages

ISOTROPIC, THICK = (1.5, 1.5, 1.5), (5.0, 0.8, 0.8)
REGIONS = {"background": 0, "organ": [1, 2, 3], "wall": [2, 3], "tumour": [3]}
MANY = {"background": 0} | {f"class{number}": number for number in range(1, 300)}


@pytest.mark.parametrize(
    ("shape", "spacing", "settings"),
    [
        ((14, 30, 26), (2.0, 1.0, 1.0), {}),  # nothing to resample
        ((14, 22, 20), ISOTROPIC, {}),
        ((6, 11, 9), ISOTROPIC, {}),  # smaller than the patch
        ((9, 28, 24), THICK, {}),  # slices are resampled on their own
        ((26, 9, 22), (0.8, 5.0, 0.9), {"transpose": (1, 0, 2)}),
        ((24, 20, 9), (1.1, 1.2, 5.0), {"transpose": (2, 0, 1)}),
        ((9, 26, 22), THICK, {"patch_size": [16, 12], "spacing": [1.0, 1.1]}),
        ((22, 20, 7), (0.9, 1.0, 4.0), {"patch_size": [16, 12], "spacing": [1.2, 1.1], "transpose": (2, 0, 1)}),
        ((1, 30, 26), (999.0, 1.0, 1.0), {"patch_size": [16, 12], "spacing": [1.5, 1.5]}),
        ((14, 22, 20), ISOTROPIC, {"labels": REGIONS, "order": [1, 2, 3]}),
        ((14, 22, 20), ISOTROPIC, {"labels": REGIONS | {"ignore": 4}, "order": [3, 1, 2]}),
        ((14, 22, 20), ISOTROPIC, {"labels": {"background": 0, "organ": 1, "ignore": 2}}),
        ((7, 15, 13), ISOTROPIC, {"labels": MANY}),
        ((14, 22, 20), ISOTROPIC, {"labels": {"background": 0} | {str(n): n for n in range(1, 255)}}),  # just uint8
    ],
    ids=str,
)
def test_the_labels_of_nnunet(write_model, shape, spacing, settings):
    model = write_model(**settings)
    image = phantom(shape)
    found = Predictor(model, device="cpu").predict_array(image, spacing)
    assert_labels_of(stock(model), found, image, spacing)


def test_folds_cropping_and_options(write_model):
    model = write_model(folds=(0, 2, 10))
    image = phantom((18, 30, 26), border=3)
    options = {"step_size": 0.7, "mirroring": False}
    found = Predictor(model, device="cpu", **options).predict_array(image, ISOTROPIC)
    expected = stock(model, None, tile_step_size=0.7, use_mirroring=False)
    assert len(expected.list_of_parameters) == 3
    assert_labels_of(expected, found, image, ISOTROPIC)
    assert not found[:3].any()
    default = Predictor(model, (0,), device="cpu")
    assert (default.predict_array(image, ISOTROPIC) != found).any()


def test_own_settings_of_the_export(write_model):
    kwargs = LINEAR | {"force_separate_z": True, "order": 0, "order_z": 1}
    model = write_model(resampling_fn_probabilities_kwargs=kwargs)
    image, spacing = phantom((9, 22, 20)), (4.0, 1.5, 1.5)
    assert_labels_of(stock(model), Predictor(model, device="cpu").predict_array(image, spacing), image, spacing)


def test_a_predictor_that_others_have_patched(write_model, monkeypatch):
    """TotalSegmentator replaces methods of nnU-Net's predictor in the whole process."""
    model = write_model(folds=(0, 1))
    image = phantom()
    before = Predictor(model, device="cpu").predict_array(image, ISOTROPIC)

    def replaced(*_: Any, **__: Any) -> None:
        raise AssertionError("a method of nnUNetPredictor was called")

    for name, _ in inspect.getmembers(nnUNetPredictor, inspect.isfunction):
        monkeypatch.setattr(nnUNetPredictor, name, replaced)
    for name in ("export_prediction_from_logits", "convert_predicted_logits_to_segmentation_with_correct_shape"):
        monkeypatch.setattr(f"nnunetv2.inference.export_prediction.{name}", replaced)
    with pytest.raises(AssertionError):
        stock(model)
    np.testing.assert_array_equal(Predictor(model, device="cpu").predict_array(image, ISOTROPIC), before)


def test_files(write_model, tmp_path):
    model = write_model()
    image = phantom()
    write_image(tmp_path / "case_0000.nii.gz", image[0], ISOTROPIC)
    predictor = Predictor(model, device="cpu")
    predictor.predict_files([tmp_path / "case_0000.nii.gz"], tmp_path / "case.nii.gz")
    written = nibabel.load(tmp_path / "case.nii.gz")
    found = np.asarray(written.dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(found, predictor.predict_array(image, ISOTROPIC))
    np.testing.assert_allclose(written.header.get_zooms(), ISOTROPIC)


def test_a_folder(write_model, tmp_path):
    model = write_model()
    for name in "abc":
        write_image(tmp_path / "images" / f"{name}_0000.nii.gz", phantom((9, 16, 12), seed=ord(name))[0], ISOTROPIC)
    predictor = Predictor(model, device="cpu")
    out = tmp_path / "new" / "out"
    results = predictor.predict_folder(tmp_path / "images", out, parts=2, part=0, show_progress=False)
    assert [(result.name, result.problem) for result in results] == [("a", None), ("c", None)]
    (out / "a.nii.gz").write_bytes(b"kept")
    (out / "c.nii.gz").unlink()
    results = predictor.predict_folder(tmp_path / "images", out, overwrite=False, show_progress=False)
    assert [result.name for result in results] == ["b", "c"]
    assert (out / "a.nii.gz").read_bytes() == b"kept"
    assert sorted(file.name for file in out.iterdir()) == [
        "a.nii.gz", "b.nii.gz", "c.nii.gz", "dataset.json", "plans.json", "predict_from_raw_data_args.json"
    ]  # fmt: skip
    description = (out / "dataset.json").read_text()
    assert list(json.loads(description)) == ["channel_names", "labels", "numTraining", "file_ending"]
    assert json.loads((out / "plans.json").read_text()) == json.loads((model / "plans.json").read_text())
    assert len(predictor.predict_folder(tmp_path / "images", out, show_progress=False)) == 3
    results = predictor.predict_folder(tmp_path / "images", out, only=("c", "b"), parts=2, part=1, show_progress=False)
    assert [result.name for result in results] == ["c"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"device": "gpu"}, "device: expected cpu, cuda, mps, got 'gpu'. Choose one."),
        ({"step_size": 0}, "step_size: expected a number above 0 and at most 1, got 0. Correct it."),
        ({"step_size": 1.1}, "step_size: expected a number above 0 and at most 1, got 1.1. Correct it."),
    ],
)
def test_wrong_arguments(write_model, arguments, text):
    with pytest.raises(UserError) as caught:
        Predictor(write_model(), **{"device": "cpu"} | arguments)
    assert str(caught.value) == text


def test_no_gpu(write_model, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="-device cuda: expected a GPU, torch finds none"):
        Predictor(write_model())


def test_a_model_that_needs_nnunets_command(write_model):
    model = write_model(resampling_fn_probabilities="resample_torch_fornnunet")
    with pytest.raises(UserError, match=r"but the plans name resample_torch_fornnunet for logits\. Use nnUNetv2_p"):
        Predictor(model, device="cpu")


def test_a_place_that_cannot_be_written(write_model, tmp_path, monkeypatch):
    """Nothing is predicted first."""
    image = tmp_path / "images" / "a_0000.nii.gz"
    write_image(image, phantom((8, 16, 12))[0], ISOTROPIC)
    (tmp_path / "file").write_bytes(b"")
    predictor = Predictor(write_model(), device="cpu")
    monkeypatch.setattr(Stages, "label", None)
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(UserError, match=f"{out}: expected a folder that can be written, got '"):
            predictor.predict_folder(tmp_path / "images", out, show_progress=False)
        with pytest.raises(UserError, match=f"{out}: expected a folder that can be written, got '"):
            predictor.predict_files([image], out / "a.nii.gz")


def test_wrong_images(write_model, tmp_path):
    predictor = Predictor(write_model(), device="cpu")
    for image, text in [
        (np.zeros((4, 4, 4)), r"image: expected the shape \(C, D, H, W\), got \(4, 4, 4\)"),
        (np.zeros((1, 4, 0, 4)), "image: expected the shape"),
        (np.zeros((2, 4, 4, 4)), "image: expected 1 channel, as the model was trained with, found 2"),
    ]:
        with pytest.raises(UserError, match=text):
            predictor.predict_array(image, ISOTROPIC)
    for spacing in [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, float("nan"), 1.0)]:
        with pytest.raises(UserError, match="spacing: expected three positive numbers, D, H, W in mm"):
            predictor.predict_array(phantom(), spacing)
    with pytest.raises(UserError, match=r"a.nii: expected a file that ends in .nii.gz"):
        predictor.predict_files([tmp_path / "a.nii"], tmp_path / "b.nii.gz")
    with pytest.raises(UserError, match=r"b.mha: expected a file that ends in .nii.gz"):
        predictor.predict_files([tmp_path / "a.nii.gz"], tmp_path / "b.mha")
    with pytest.raises(UserError, match="images: expected one file for each channel, got none"):
        predictor.predict_files([], tmp_path / "b.nii.gz")
    with pytest.raises(UserError, match="part: expected a number from 0 to 1, got 2"):
        predictor.predict_folder(tmp_path, tmp_path / "out", parts=2, part=2)
    assert not (tmp_path / "out").exists()


def test_threads_are_as_before(write_model):
    torch.set_num_threads(2)
    seen = []
    predictor = Predictor(write_model(), device="cpu")
    predictor.model.network.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    torch.set_num_threads(5)
    predictor.predict_array(phantom((8, 16, 12)), ISOTROPIC)
    assert set(seen) == {1}  # nnUNet_def_n_proc of the tests
    assert torch.get_num_threads() == 5


def test_paths_may_be_text(write_model: Any, tmp_path: Path) -> None:
    model = write_model()
    write_image(tmp_path / "case_0000.nii.gz", phantom((8, 16, 12))[0], ISOTROPIC)
    Predictor(str(model), device="cpu").predict_files(
        [str(tmp_path / "case_0000.nii.gz")], str(tmp_path / "new/out/a.nii.gz")
    )
    assert (tmp_path / "new" / "out" / "a.nii.gz").is_file()


def test_damaged_files_are_read_only_if_asked(write_model, tmp_path):
    file = tmp_path / "images" / "a_0000.nii.gz"
    write_image(file, phantom((8, 16, 12))[0], ISOTROPIC)
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-100]))  # SimpleITK reads it
    predictor = Predictor(write_model(), device="cpu", mirroring=False)
    for check in (True, False, True):
        result = predictor.predict_folder(tmp_path / "images", tmp_path / "out", check=check, show_progress=False)[0]
        assert (result.problem is not None) == check
        with pytest.raises(UserError, match=r"a_0000\.nii\.gz: expected"):  # whatever was asked for the folder
            predictor.predict_files([file], tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("device", "asked", "kept"), [("mps", True, False), ("cpu", True, True), ("cpu", False, False)]
)
def test_where_sums_are_kept(write_model, monkeypatch, device, asked, kept):
    """nnU-Net keeps them on GPUs of CUDA only; on a CPU it makes no difference."""
    monkeypatch.setattr("nnunet_ext.prediction.predictor.SlidingWindow", lambda *_, **__: None)
    assert Predictor(write_model(), device=device, on_device=asked)._stages.on_device is kept
