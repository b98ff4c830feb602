"""Preprocessed data compared with the dataset: every way in which they can be incomplete, with and without a marker."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from preprocessed_folder import write_preprocessed

from nnunet_ext.data.preprocessed.state import PreprocessedState, is_readable, preprocessed_cases
from nnunet_ext.errors import UserError

CASES = ("a", "b", "c")
PLANS = {
    "dataset_name": "Dataset007_Pancreas",
    "plans_name": "LitePlans",
    "configurations": {"2d": {"data_identifier": "LitePlans_2d", "spacing": [1.0, 1.0]}},
}
DESCRIPTION = {
    "labels": {"background": 0, "pancreas": 1},
    "channel_names": {"0": "CT"},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset of three cases, preprocessed as by a stock command."""
    raw, folder = tmp_path / "raw/Dataset007_Pancreas", tmp_path / "preprocessed/Dataset007_Pancreas"
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True)
    for case in CASES:
        (raw / f"imagesTr/{case}_0000.nii.gz").write_text(f"image {case}")
        (raw / f"labelsTr/{case}.nii.gz").write_text(f"label {case}")
    write_preprocessed(folder, "LitePlans_2d", CASES)
    for place in (raw, folder):
        (place / "dataset.json").write_text(json.dumps(DESCRIPTION))
    return tmp_path


def data(root: Path, name: str = "") -> Path:
    return root / "preprocessed/Dataset007_Pancreas/LitePlans_2d" / name


def raw(root: Path, name: str = "") -> Path:
    return root / "raw/Dataset007_Pancreas" / name


def state(root: Path, **plans: Any) -> PreprocessedState:
    return PreprocessedState(data(root).parent, PLANS | plans, "2d", raw(root))


def refused(root: Path, **plans: Any) -> str:
    with pytest.raises(UserError) as error:
        state(root, **plans).check()
    text, start = str(error.value), f"{data(root)}: expected preprocessed data of plans 'LitePlans', "
    end = ". Run nnunet_ext preprocess -d 7 -p LitePlans -c 2d"
    assert text.startswith(start)
    assert text.endswith(end)
    assert "\n" not in text
    return text.removeprefix(start).removesuffix(end)


def mark(root: Path, **plans: Any) -> None:
    found = state(root, **plans)
    found.marker.begin(found.digest, found.stamps())
    found.marker.finish(found.digest)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def test_complete_data_of_a_stock_command(root):
    state(root).check()
    assert not state(root).is_done()  # nobody knows what they were made of
    assert preprocessed_cases(data(root)) == list(CASES)
    assert preprocessed_cases(root / "nowhere") == []
    mark(root)
    state(root).check()
    assert state(root).is_done()


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("ending", [".b2nd", "_seg.b2nd", ".pkl"])
@pytest.mark.parametrize("harm", [Path.unlink, cut, empty])
def test_one_file_of_a_case(root, marked: bool, ending: str, harm: Callable[[Path], None]):
    if marked:
        mark(root)
    harm(data(root, f"b{ending}"))
    assert refused(root) == ("found 2 of 3 cases, without b: preprocessing was interrupted, or cases were added since")
    assert state(root).missing() == ["b"]


def test_data_in_the_format_of_earlier_versions(root):
    for case in CASES:
        for ending in (".b2nd", "_seg.b2nd"):
            data(root, f"{case}{ending}").unlink()
        np.savez_compressed(data(root, f"{case}.npz"), data=np.zeros(4), seg=np.zeros(4))
    state(root).check()
    cut(data(root, "c.npz"))
    assert not is_readable(data(root, "c.npz"))
    assert refused(root).startswith("found 2 of 3 cases, without c: ")


def test_a_configuration_that_inherits_its_data(root):
    cascade = {"inherits_from": "parent", "spacing": [2.0, 2.0]}
    parent = {"inherits_from": "2d", "batch_size": 3, "spacing": [3.0, 3.0]}
    plans = PLANS | {"configurations": PLANS["configurations"] | {"child": cascade, "parent": parent}}
    found = PreprocessedState(data(root).parent, plans, "child", raw(root))
    assert found.resolved == {"data_identifier": "LitePlans_2d", "batch_size": 3, "spacing": [2.0, 2.0]}
    found.check()


def test_nothing_at_all(root):
    mark(root)
    shutil.rmtree(data(root))
    assert refused(root) == "found them deleted"
    state(root).marker.remove()
    assert refused(root) == "found none: they were never preprocessed"
    data(root).mkdir()
    assert refused(root) == "found none: they were never preprocessed"


def test_cases_that_came_or_went(root):
    for name in ("d", "e"):
        raw(root, f"imagesTr/{name}_0000.nii.gz").write_text("image")
    assert refused(root).startswith("found 3 of 5 cases, without d (and 1 more case): ")
    for name in ("c", "d", "e"):
        raw(root, f"imagesTr/{name}_0000.nii.gz").unlink()
    assert refused(root) == "found case c, which the dataset no longer has"
    assert state(root).surplus() == ["c"]


def test_labels_for_the_final_validation(root):
    truths = data(root).parent / "gt_segmentations"
    empty(truths / "b.nii.gz")
    (truths / "c.nii.gz").unlink()
    text = "found no label of b in gt_segmentations (and 1 more case), which the final validation reads"
    assert refused(root).startswith(text)
    shutil.rmtree(truths)
    assert refused(root).startswith("found no label of a in gt_segmentations (and 2 more cases)")


def test_no_fingerprint(root):
    (data(root).parent / "dataset_fingerprint.json").unlink()
    with pytest.raises(
        UserError, match=r"dataset_fingerprint.json: expected .* Run nnUNetv2_extract_fingerprint -d 7$"
    ):
        state(root).check()


@pytest.mark.parametrize("gone", ["raw", "raw/Dataset007_Pancreas/imagesTr", "raw/Dataset007_Pancreas/imagesTr/*"])
def test_where_the_raw_data_are_elsewhere(root, gone):
    for place in root.glob(gone):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    state(root).check()
    data(root, "b.pkl").unlink()
    assert refused(root).startswith("found 2 of 3 cases, without b: ")
    for ending in (".b2nd", "_seg.b2nd"):
        data(root, f"b{ending}").unlink()
    assert refused(root).startswith("found 2 of 3 cases, without b: ")  # gt_segmentations has it
    (data(root).parent / "dataset.json").write_text(json.dumps(DESCRIPTION | {"numTraining": 2}))
    state(root).check()  # it was removed from the dataset; gt_segmentations keeps it
    listed = {name: {"images": [f"{name}.nii.gz"], "label": "x"} for name in (*CASES, "d")}
    (data(root).parent / "dataset.json").write_text(json.dumps(DESCRIPTION | {"dataset": listed}))
    assert refused(root).startswith("found 2 of 4 cases, without b (and 1 more case): ")


def test_planned_again(root):
    mark(root)
    other = PLANS["configurations"]["2d"] | {"spacing": [1.0, 2.0]}
    assert refused(root, configurations={"2d": other}).startswith("found those of earlier plans or labels")
    wider = PLANS["configurations"]["2d"] | {"batch_size": 9}
    state(root, configurations={"2d": wider}).check()  # data do not depend on it
    begun = state(root)
    begun.marker.begin(begun.digest)
    assert refused(root, configurations={"2d": other}).startswith("found those of earlier plans or labels")
    mark(root)
    write_preprocessed(data(root).parent, "LitePlans_2d", CASES, depth=5)  # a stock command preprocessed again
    state(root, configurations={"2d": other}).check()


@pytest.mark.parametrize("stray", [".DS_Store", ".nfs0001", "notes.txt"])
def test_planned_again_beside_files_of_others(root, stray):
    mark(root)
    data(root, stray).write_text("of somebody else")
    other = PLANS["configurations"]["2d"] | {"spacing": [1.0, 2.0]}
    assert refused(root, configurations={"2d": other}).startswith("found those of earlier plans or labels")


@pytest.mark.parametrize("file", ["labelsTr/b.nii.gz", "imagesTr/b_0000.nii.gz"])
def test_a_label_or_image_that_was_changed(root, file):
    mark(root)
    path = raw(root, file)
    kept = path.read_text()
    os.utime(path, ns=(1, 1))  # copied or touched
    state(root).check()
    path.write_text(kept[::-1])
    assert refused(root) == f"found case b from before {path} was changed"
    assert state(root).missing() == ["b"]
    path.write_text(kept)
    state(root).check()
    path.write_text("longer than it was")
    assert state(root).missing() == ["b"]
    found = state(root)
    found.marker.begin(found.digest, json.loads(found.marker.file.read_text())["sources"])
    assert state(root).missing() == ["b"]  # nor does an interruption hide it
    mark(root)
    state(root).check()


def test_a_link_is_the_file_that_it_leads_to(root):
    label, elsewhere = raw(root, "labelsTr/b.nii.gz"), root / "elsewhere.nii.gz"
    label.rename(elsewhere)
    label.symlink_to(elsewhere)
    mark(root)
    elsewhere.write_text("corrected")
    assert refused(root) == f"found case b from before {label} was changed"
