"""``nnunet_ext predict --structures``: masks that overlap, exactly where the image's voxels are."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from challenge_tree import KITS, OBLIQUE, write_volume
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient
from threshold_model import write_threshold_model

from nnunet_ext import sockets
from nnunet_ext.challenges.conversion.challenge_record import KEY, ChallengeRecord
from nnunet_ext.cli.main import main

RECORD = ChallengeRecord("overlapping", {"body": (1, 2), "bone": (2,)}, {}, ("MR",))
SHAPE = (6, 11, 13)  # no two alike
VOXELS = (30 * np.indices(SHAPE).sum(0) + 400 * np.indices(SHAPE)[1] % 1900).astype(np.int16)  # without any symmetry
EXPECTED = {"body": VOXELS > 100, "bone": VOXELS > 1500}


@pytest.fixture(autouse=True)
def _nnunet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sockets.VARIABLE, "")
    for part in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{part}", str(tmp_path / part))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


def model_in(root: Path, reader: str = "SimpleITKIO", ending: str = ".nii.gz", record: bool = True, **more) -> Path:
    model = write_threshold_model(root / "results", reader=reader, ending=ending, **more)
    description = json.loads((model / "dataset.json").read_text())
    if record:
        (model / "dataset.json").write_text(json.dumps(description | {KEY: RECORD.as_json()}))
    return model


def image_in(root: Path, ending: str = ".nii.gz", affine: np.ndarray = KITS, name: str = "a") -> Path:
    nifti = write_volume(root / "made" / f"{name}.nii.gz", VOXELS, affine)
    file = root / "images" / f"{name}_0000{ending}"
    file.parent.mkdir(exist_ok=True)
    if ending == ".mha":
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(nifti)), str(file))
    else:
        nifti.rename(file)
    return file


def words(root: Path, *more: str) -> list[str]:
    start = ["predict", "-i", str(root / "images"), "-o", str(root / "out"), "-d", "901", "-c", "3d_fullres"]
    return [*start, "-f", "0", "-device", "cpu", "-npp", "0", "-nps", "0", "--disable_progress_bar", *more]


def world(file: Path) -> list[float]:
    """The map from voxels to mm of the first three axes, as SimpleITK reads it; in the end their lengths."""
    image = SimpleITK.ReadImage(str(file))
    axes = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (axes, axes))[:3, :3].ravel().tolist()
    return [*direction, *image.GetOrigin()[:3], *image.GetSpacing()[:3], *image.GetSize()[:3]]


def array(file: Path) -> np.ndarray:
    """The voxels (X, Y, Z); of four axes (X, Y, Z, structures)."""
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file))).T


@pytest.mark.parametrize("reader", [SimpleITKIO, SimpleITKIOWithReorient])
@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
@pytest.mark.parametrize("affine", [KITS, OBLIQUE], ids=["permuted", "oblique"])
def test_voxels_and_their_places_are_those_of_the_image(tmp_path, reader, ending, affine):
    image = image_in(tmp_path, ending, affine)
    spacing = reader().read_images([str(image)])[1]["spacing"]
    model_in(tmp_path, reader.__name__, ending, spacing=tuple(spacing))
    for form in ("files", "image"):
        assert main(words(tmp_path, "--structures", form)) == 0
    out = tmp_path / "out" / "structures"
    assert sorted(os.listdir(out)) == ["a", "a.mha"]
    assert array(tmp_path / "out" / f"a{ending}").max() == 2
    for place, (name, mask) in enumerate(EXPECTED.items()):
        file = out / "a" / f"{name}{ending}"
        np.testing.assert_array_equal(array(file), mask)
        np.testing.assert_array_equal(array(out / "a.mha")[..., place], mask)
        assert world(file) == world(out / "a.mha") == world(image)
        if ending == ".nii.gz":
            assert np.array_equal(nibabel.load(file).affine, nibabel.load(image).affine)


def test_what_is_there_is_kept(tmp_path, capsys):
    """With --continue_prediction; what is missing is made of label maps that are there."""
    model_in(tmp_path)
    for name in "ab":
        image_in(tmp_path, name=name)
    more = ["-step_size", "1", "--structures", "files"]
    assert main(words(tmp_path, *more[:2])) == 0
    out = tmp_path / "out" / "structures"
    assert not out.exists()
    assert main(words(tmp_path, *more, "--continue_prediction", "-num_parts", "2", "-part_id", "1")) == 0
    assert os.listdir(out) == ["b"]
    times = {file: file.stat().st_mtime_ns for file in (out / "b").iterdir()}
    assert main(words(tmp_path, *more, "--continue_prediction")) == 0
    assert capsys.readouterr().out.endswith(f"0 cases predicted in {tmp_path / 'out'}\n"
                                            f"2 structures of 1 case written to {out}\n")  # fmt: skip
    assert sorted(os.listdir(out)) == ["a", "b"]
    assert {file: file.stat().st_mtime_ns for file in times} == times
    assert main(words(tmp_path, *more)) == 0
    assert all(file.stat().st_mtime_ns > time for file, time in times.items())


def test_a_case_that_fails(tmp_path, capsys):
    """The others have structures."""
    model_in(tmp_path)
    image_in(tmp_path)
    image_in(tmp_path, name="b").write_bytes(b"no image")
    assert main(words(tmp_path, "--no_check", "--structures", "image")) == 1
    assert "1 case not predicted" in capsys.readouterr().err
    assert os.listdir(tmp_path / "out" / "structures") == ["a.mha"]


def test_a_model_of_no_challenge(tmp_path, mistake):
    model = model_in(tmp_path, record=False)
    image_in(tmp_path)
    assert mistake(words(tmp_path, "--structures", "files")).startswith(
        f"--structures: {model / 'dataset.json'}: expected the key 'challenge' that nnunet_ext convert writes, found "
    )
    assert not (tmp_path / "out").exists()
    told = mistake("predict --dicom images -o out -m model.zip --structures files")
    assert told.startswith("--dicom: expected without -i, ")
    assert told.endswith("found --structures. Leave out one.")


@pytest.mark.parametrize("given", [["--structures", "image"], ["--structures=image"]])
def test_structures_of_what_nnunet_predicts(tmp_path, monkeypatch, given):
    """Its command does not get the option; another name is not touched by it."""
    model_in(tmp_path)
    image_in(tmp_path)
    assert main(words(tmp_path)) == 0
    seen = []
    monkeypatch.setattr("nnunetv2.inference.predict_from_raw_data.predict_entry_point", lambda: seen.append(sys.argv))
    assert main(words(tmp_path, *given, "--stock", "--verbose")) == 0
    assert seen == [["nnUNetv2_predict", *words(tmp_path, "--verbose")[1:]]]
    assert os.listdir(tmp_path / "out" / "structures") == ["a.mha"]
