"""Labels of an exported model are those of stock nnU-Net with the model itself."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from small_model import assert_labels_of, phantom, stock, write_image

from nnunet_ext.errors import UserError
from nnunet_ext.onnx_runner.predictor import OnnxPredictor

REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "tumour": 3}
THICK = {"spacing": [4.0, 1.0, 1.0], "patch_size": [8, 16, 12]}
# settings of a model, spacing of its image
CASES: dict[str, tuple[dict[str, Any], tuple[float, float, float]]] = {
    "resampled": ({}, (1.4, 1.1, 0.9)),
    "not resampled, transposed": ({"transpose": (1, 2, 0), "spacing": [1.0, 1.0, 2.0]}, (2.0, 1.0, 1.0)),
    "transposed": ({"transpose": (2, 0, 1), "axes": (1,)}, (1.4, 1.1, 0.9)),
    "separate z": (THICK, (5.0, 0.8, 0.8)),
    "2d": ({"patch_size": [16, 12], "spacing": [1.0, 1.0]}, (2.0, 0.8, 1.3)),
    "2d, small": ({"patch_size": [32, 36], "spacing": [1.0, 1.0], "axes": None}, (2.0, 1.0, 1.0)),
    "regions": ({"labels": REGIONS, "order": [1, 2, 3]}, (1.4, 1.1, 0.9)),
    "regions, separate z": (THICK | {"labels": REGIONS, "order": [1, 2, 3]}, (5.0, 0.8, 0.8)),
    "two folds": ({"folds": (0, 1)}, (1.4, 1.1, 0.9)),
    "three folds, no mirroring": ({"folds": (0, 1, 2), "axes": None}, (1.4, 1.1, 0.9)),
    "patch larger than the image": ({"patch_size": [20, 36, 28], "axes": (0, 2)}, (2.0, 1.0, 1.0)),
    "ignore label": ({"labels": {"background": 0, "a": 1, "b": 2, "ignore": 3}}, (1.4, 1.1, 0.9)),
}
Export = Callable[..., tuple[Path, Path]]


@pytest.mark.parametrize("case", CASES)
def test_labels_are_those_of_nnunet(export: Export, case: str) -> None:
    settings, spacing = CASES[case]
    model, exported = export(**settings)
    image = phantom()
    found = OnnxPredictor(exported).predict_array(image, spacing)
    assert_labels_of(stock(model, settings.get("folds", (0,))), found, image, spacing, within=2)


def test_two_channels_in_a_border_of_zeros(export: Export, two_channels: Callable[..., Any]) -> None:
    model, exported = export(**two_channels())
    image = np.concatenate([phantom(border=2), phantom(seed=1, border=2)])
    found = OnnxPredictor(exported).predict_array(image, (1.4, 1.1, 0.9))
    assert_labels_of(stock(model), found, image, (1.4, 1.1, 0.9), within=2)
    assert not found[:2].any()


def test_step_mirroring_and_folds_can_be_chosen(export: Export) -> None:
    model, exported = export(folds=(0, 1))
    image = phantom()
    found = OnnxPredictor(exported, ("1",), step_size=0.9, mirroring=False).predict_array(image, (1.4, 1.1, 0.9))
    theirs = stock(model, (1,), use_mirroring=False, tile_step_size=0.9)
    assert_labels_of(theirs, found, image, (1.4, 1.1, 0.9), within=2)


def test_a_folder(export: Export, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files as nnU-Net writes them; a damaged case is one line, and the others go on."""
    model, exported = export()
    images, output = tmp_path / "images", tmp_path / "out"
    for number, name in enumerate("abc"):
        write_image(images / f"{name}_0000.nii.gz", phantom(seed=number)[0], (1.4, 1.1, 0.9))
    damaged = images / "b_0000.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-2000])
    with caplog.at_level(logging.ERROR):
        done, problems = OnnxPredictor(exported).predict_folder(images, output, show_progress=False)
    assert done == ["a", "c"]
    assert list(problems) == ["b"]
    assert "b_0000.nii.gz: expected an intact image" in problems["b"]
    assert [record.getMessage() for record in caplog.records] == [f"case b was not predicted: {problems['b']}"]
    assert sorted(path.name for path in output.iterdir()) == ["a.nii.gz", "c.nii.gz", "dataset.json"]
    theirs = stock(model)
    theirs.predict_from_files_sequential([[str(images / "a_0000.nii.gz")]], [str(tmp_path / "theirs")])
    expected, found = (nibabel.load(file) for file in (tmp_path / "theirs.nii.gz", output / "a.nii.gz"))
    assert found.get_data_dtype() == expected.get_data_dtype()
    assert np.array_equal(found.affine, expected.affine)
    assert (np.asarray(found.dataobj) != np.asarray(expected.dataobj)).mean() < 1e-3
    assert json.loads((output / "dataset.json").read_text()) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "organ": 1, "wall": 2, "tumour": 3},
        "file_ending": ".nii.gz",
    }


def test_label_maps_that_are_there_can_be_kept(export: Export, tmp_path: Path) -> None:
    _, exported = export(axes=None)
    images, output = tmp_path / "images", tmp_path / "out"
    output.mkdir()
    for name in "ab":
        write_image(images / f"{name}_0000.nii.gz", phantom()[0], (2.0, 1.0, 1.0))
    (output / "a.nii.gz").write_bytes(b"kept")
    predictor = OnnxPredictor(exported)
    assert predictor.predict_folder(images, output, overwrite=False, show_progress=False) == (["b"], {})
    assert (output / "a.nii.gz").read_bytes() == b"kept"
    assert predictor.predict_folder(images, output, show_progress=False) == (["a", "b"], {})
    assert (output / "a.nii.gz").read_bytes() != b"kept"


def test_colours_are_channels_of_one_file(export: Export, tmp_path: Path) -> None:
    schemes = {"normalization_schemes": ["RGBTo01Normalization"] * 3, "use_mask_for_norm": [False] * 3}
    model, exported = export(
        channels=3,
        reader="NaturalImage2DIO",
        ending=".png",
        patch_size=[16, 12],
        spacing=[1.0, 1.0],
        axes=(0, 1, 2),
        **schemes,
    )
    (tmp_path / "images").mkdir()
    colours = np.stack([phantom((1, 30, 26), seed=number)[0, 0] for number in range(3)], -1) * 0.4 + 120
    image = SimpleITK.GetImageFromArray(colours.clip(0, 255).astype(np.uint8), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "images" / "a_0000.png"))
    done, problems = OnnxPredictor(exported).predict_folder(tmp_path / "images", tmp_path / "out", show_progress=False)
    assert (done, problems) == (["a"], {})
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out" / "a.png")))
    pixels = colours.clip(0, 255).astype(np.uint8).astype(np.float32).transpose(2, 0, 1)[:, None]
    assert_labels_of(stock(model), found[None], pixels, (999.0, 1.0, 1.0), within=2)


@pytest.mark.parametrize(
    ("image", "spacing", "message"),
    [
        (np.zeros((4, 5, 6), np.float32), (1.0, 1.0, 1.0), r"image: expected the shape \(C, D, H, W\) with 1 channel,"),
        (np.zeros((2, 4, 5, 6), np.float32), (1.0, 1.0, 1.0), r"got \(2, 4, 5, 6\)"),
        (np.zeros((1, 4, 0, 6), np.float32), (1.0, 1.0, 1.0), r"got \(1, 4, 0, 6\)"),
        (np.zeros((1, 4, 5, 6), np.float32), (1.0, 1.0), "spacing: expected three positive numbers"),
        (np.zeros((1, 4, 5, 6), np.float32), (1.0, 0.0, 1.0), "spacing: expected three positive numbers"),
    ],
)
def test_arrays_of_another_form(export: Export, image: Any, spacing: Any, message: str) -> None:
    _, exported = export()
    with pytest.raises(UserError, match=message):
        OnnxPredictor(exported).predict_array(image, spacing)


def test_what_a_later_version_may_have(export: Export) -> None:
    _, exported = export()
    file = exported / "model.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"reader": "OtherIO"}))
    with pytest.raises(UserError, match="expected a reader that this version has, found 'OtherIO'"):
        OnnxPredictor(exported)
    content["normalization"][0]["scheme"] = "Other"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="expected a normalization that this version has, found 'Other'"):
        OnnxPredictor(exported)
