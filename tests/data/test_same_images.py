"""Which cases are the same images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nnunet_ext.data.same_images import images_of, raw_folder, same_images


def files(folder: Path, **cases: list[str]) -> dict[str, list[Path]]:
    return {f"{folder.name}/{case}": [folder / name for name in names] for case, names in cases.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for dataset in ("A", "B"):
        (tmp_path / dataset).mkdir()
        for name in ("x", "y", "atlas"):
            (tmp_path / dataset / name).write_text(f"{dataset} {name}")
    return tmp_path


def test_one_path_in_two_datasets(folder):
    one, other = files(folder / "A", a=["x"], b=["y"]), files(folder / "B", c=["x"], d=["y"])
    assert same_images(one, other) == []
    other["B/d"] = [folder / "A" / "y"]
    assert same_images(one, other) == [("A/b", "B/d")]
    assert same_images(other, one) == [("B/d", "A/b")]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_one_file_under_two_paths(folder, link):
    (folder / "B" / "y").unlink()
    link(folder / "A" / "x", folder / "B" / "y")
    assert same_images(files(folder / "A", a=["x", "y"]), files(folder / "B", c=["x", "y"])) == [("A/a", "B/c")]


def test_copies(folder):
    """Of all images of a case; an atlas that is copied into each case is none."""
    for name in ("x", "y", "atlas"):
        (folder / "B" / f"{name}_copy").write_bytes((folder / "A" / name).read_bytes())
    (folder / "B" / "z").write_text("B z")
    one = files(folder / "A", a=["x", "atlas"])
    assert same_images(one, files(folder / "B", c=["x_copy", "atlas_copy"])) == []
    assert same_images(one, files(folder / "B", c=["x_copy", "atlas_copy"]), copies=True) == [("A/a", "B/c")]
    assert same_images(one, files(folder / "B", c=["z", "atlas_copy"], d=["y_copy", "atlas_copy"]), copies=True) == []
    assert same_images(one, files(folder / "B", c=["x_copy"]), copies=True) == []
    middle = 3 * [0] + [1] + 3 * [0]  # equal in the middle
    for name, content in (("A/long", bytes([7, *middle, 8])), ("B/long", bytes([9, *middle, 8]))):
        (folder / name).write_bytes(content * 1024)
    assert same_images(files(folder / "A", a=["long"]), files(folder / "B", b=["long"]), copies=True) == []


def test_files_that_are_not_there_are_told_by_their_paths(tmp_path):
    one = images_of(tmp_path, "Dataset001_A", {"channel_names": {"0": "CT"}, "file_ending": ".mha"}, ["a"])
    listed = {"b": {"images": ["../Dataset001_A/imagesTr/a_0000.mha"]}}
    other = images_of(tmp_path, "Dataset002_B", {"dataset": listed, "file_ending": ".mha"}, ["b"])
    assert same_images(one, other) == [("Dataset001_A/a", "Dataset002_B/b")]


def test_an_image_that_all_cases_have_beside_their_own_tells_nothing(folder):
    (folder / "A" / "z").write_text("A z")
    cases = files(folder / "A", a=["x", "atlas"], b=["y", "atlas"], c=["z", "atlas"])
    one = {name: images for name, images in cases.items() if name != "A/a"}
    assert same_images(one, {"A/a": cases["A/a"]}) == []
    assert same_images(one | {"A/d": [folder / "A" / "x", folder / "A" / "atlas"]}, {"A/a": cases["A/a"]}) == [
        ("A/d", "A/a")
    ]
    alone = files(folder / "A", a=["atlas"], b=["atlas"], c=["atlas"])
    assert same_images({"A/b": alone["A/b"], "A/c": alone["A/c"]}, {"A/a": alone["A/a"]}) == [("A/c", "A/a")]


def test_an_image_that_some_cases_share_is_one_patient(folder):
    """Three visits with one CT and a PET of their own."""
    for name in ("z", "other"):
        (folder / "A" / name).write_text(f"A {name}")
    cases = files(folder / "A", a=["x", "atlas"], b=["y", "atlas"], c=["z", "atlas"], d=["other", "other"])
    assert same_images({name: cases[name] for name in ("A/b", "A/c", "A/d")}, {"A/a": cases["A/a"]}) == [("A/c", "A/a")]


def test_names_of_image_files(tmp_path, monkeypatch):
    monkeypatch.setenv("SCANS", str(tmp_path / "scans"))
    description = {
        "channel_names": {"0": "T1", "1": "T2"},
        "file_ending": ".nii.gz",
        "unlabelled": {"u": {"images": ["$SCANS/u.nii.gz"]}},
    }
    assert images_of(tmp_path, "D", description, ["a"]) == {
        "D/a": [tmp_path / "D" / "imagesTr" / f"a_000{channel}.nii.gz" for channel in range(2)]
    }
    assert images_of(tmp_path, "D", description, ["u", "v"], key="unlabelled") == {
        "D/u": [tmp_path / "scans" / "u.nii.gz"],
        "D/v": [tmp_path / "D" / "imagesUn" / f"v_000{channel}.nii.gz" for channel in range(2)],
    }


def test_without_raw_data_there_is_a_name_for_them(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    assert raw_folder() == tmp_path
    monkeypatch.delenv("nnUNet_raw")
    assert raw_folder() == Path("nnUNet_raw")
