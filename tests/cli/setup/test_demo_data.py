"""The demo empties nothing but its own folder, and finds the unseen cases."""

import json
import os

import pytest

from nnunet_ext.cli.setup.demo_data import MARKER, bring_data, check_data, image_files, start_folder, unseen_cases
from nnunet_ext.errors import UserError

DESCRIPTION = {
    "channel_names": {"0": "a", "1": "b"},
    "labels": {"background": 0, "organ": 1},
    "numTraining": 5,
    "file_ending": ".nii.gz",
}


@pytest.fixture
def dataset(tmp_path):
    """Two channels, five training cases, nothing unseen."""
    folder = tmp_path / "data" / "Dataset007_Two"
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for case in "abcde":
        for channel in range(2):
            (folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz").write_text(f"{case}{channel}")
        (folder / "labelsTr" / f"{case}.nii.gz").write_text(case)
    (folder / "dataset.json").write_text(json.dumps(DESCRIPTION))
    return folder


@pytest.fixture
def splits(tmp_path):
    (tmp_path / "splits_final.json").write_text(
        json.dumps([{"train": ["a", "b", "e"], "val": ["c", "d"]}, {"val": ["a"]}])
    )
    return tmp_path / "splits_final.json"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_new_folder_gets_the_marker(tmp_path):
    start_folder(tmp_path / "new" / "demo")
    assert contents(tmp_path / "new" / "demo") == {MARKER: ""}


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="expected a new or empty folder, or an earlier demo's, found other files"):
        start_folder(tmp_path)
    assert contents(tmp_path) == {"thesis.tex": "years of work"}


def test_a_demo_folder_is_emptied_but_not_what_it_links_to(tmp_path, dataset):
    out = tmp_path / "out"
    start_folder(out)
    (out / "figure.png").write_text("old")
    place = bring_data(out / "nnUNet_raw", dataset)
    assert place.is_symlink()
    start_folder(out)
    assert contents(out) == {MARKER: ""}
    assert len(contents(dataset)) == 16


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--out .*file: expected a folder that can be written, got 'File exists'"):
        start_folder(tmp_path / "file")


@pytest.mark.parametrize("out", [".", "data", "data/Dataset007_Two"])
def test_data_inside_out_would_be_lost(tmp_path, dataset, out):
    with pytest.raises(UserError, match="expected a folder outside --out"):
        check_data(dataset, tmp_path / out)
    check_data(dataset, tmp_path / "elsewhere")


def test_data_of_another_form(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="expected a raw nnU-Net dataset, DatasetXXX_Name"):
        check_data(tmp_path / "images", tmp_path / "out")


def test_data_are_copied_where_links_cannot_be(tmp_path, dataset, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    place = bring_data(tmp_path / "raw", dataset)
    assert not place.is_symlink()
    assert contents(place) == contents(dataset)


def test_validation_cases_are_unseen_where_no_others_are(tmp_path, dataset, splits):
    unseen = unseen_cases(dataset, splits, tmp_path)
    assert contents(unseen.images) == {
        "c_0000.nii.gz": "c0",
        "c_0001.nii.gz": "c1",
        "d_0000.nii.gz": "d0",
        "d_0001.nii.gz": "d1",
    }
    assert contents(unseen.labels) == {"c.nii.gz": "c", "d.nii.gz": "d"}
    assert unseen.origin.startswith("fold 0's validation cases")


def test_cases_that_dataset_json_places_elsewhere(tmp_path, dataset, splits):
    places = {
        case: {"images": [f"imagesTr/{case}_0001.nii.gz"], "label": f"labelsTr/{case}.nii.gz"} for case in ("c", "d")
    }
    (dataset / "dataset.json").write_text(json.dumps(DESCRIPTION | {"dataset": places}))
    assert contents(unseen_cases(dataset, splits, tmp_path).images) == {"c_0000.nii.gz": "c1", "d_0000.nii.gz": "d1"}


def test_labelled_test_cases_are_unseen(tmp_path, dataset):
    for name in ("imagesTs/x_0000", "imagesTs/x_0001", "labelsTs/x", "imagesTs/unlabelled_0000"):
        (dataset / name).parent.mkdir(exist_ok=True)
        (dataset / f"{name}.nii.gz").write_text(name)
    unseen = unseen_cases(dataset, tmp_path / "not_needed.json", tmp_path)
    assert contents(unseen.images) == {"x_0000.nii.gz": "imagesTs/x_0000", "x_0001.nii.gz": "imagesTs/x_0001"}
    assert contents(unseen.labels) == {"x.nii.gz": "labelsTs/x"}


def test_the_spacing_of_a_tif_goes_with_it(tmp_path, dataset):
    (dataset / "dataset.json").write_text(json.dumps(DESCRIPTION | {"file_ending": ".tif"}))
    for name in ("imagesTs/x_0000.tif", "imagesTs/x.json", "labelsTs/x.tif", "labelsTs/x.json", "labelsTs/._x.tif"):
        (dataset / name).parent.mkdir(exist_ok=True)
        (dataset / name).write_text(name)
    unseen = unseen_cases(dataset, tmp_path / "not_needed.json", tmp_path)
    assert contents(unseen.images) == {"x_0000.tif": "imagesTs/x_0000.tif", "x.json": "imagesTs/x.json"}
    assert contents(unseen.labels) == {"x.tif": "labelsTs/x.tif", "x.json": "labelsTs/x.json"}


def test_channels_in_order(dataset):
    (dataset / "imagesTr" / "a_b_0000.nii.gz").touch()
    assert [file.name for file in image_files(dataset / "imagesTr", "a", ".nii.gz")] == [
        "a_0000.nii.gz",
        "a_0001.nii.gz",
    ]
