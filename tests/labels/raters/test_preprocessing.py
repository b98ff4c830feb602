"""Raters' maps are preprocessed as labels are, apart from them, only where something is missing or stale."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_ext.errors import UserError
from nnunet_ext.labels.raters.preprocessed_raters import RaterData
from nnunet_ext.labels.raters.preprocessing import check_preprocessed_raters, preprocess_raters, raters_folder
from nnunet_ext.labels.raters.rated_dataset import RatedDataset

NAME, CONFIGURATION = "Dataset701_Rated", "3d_fullres"


@pytest.fixture
def done(rated: Callable[..., Any]) -> tuple[Path, Path, dict]:
    root = rated(None)
    planned = root / "preprocessed" / NAME
    return root / "raw" / NAME, planned, json.loads((planned / "LitePlans.json").read_text())


def run(done: tuple[Path, Path, dict], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    written: list[str] = []
    write = RaterData.write
    with monkeypatch.context() as patched:
        patched.setattr(RaterData, "write", lambda data, case: (written.append(case.name), write(data, case))[1])
        preprocess_raters(*done, CONFIGURATION, progress=False)
    return written


def problem(done: tuple[Path, Path, dict]) -> str:
    with pytest.raises(UserError) as caught:
        check_preprocessed_raters(done[1], done[2], CONFIGURATION, done[0])
    return str(caught.value)


def maps(done: tuple[Path, Path, dict], case: str) -> np.ndarray:
    return blosc2.open(str(raters_folder(done[1], done[2], CONFIGURATION) / f"{case}.b2nd"))[:]


def test_raters_of_each_case(done):
    everybody = ("exact", "generous", "strict")
    found = check_preprocessed_raters(done[1], done[2], CONFIGURATION, done[0])
    assert found["case_000"] == everybody
    assert found["case_001"] == ("exact", "generous")
    assert found["case_002"] == ()


def test_missing_raters_are_marked(done):
    stored = maps(done, "case_001")
    assert stored.dtype == np.int16
    assert (stored[2] == -2).all()
    assert (stored[:2] >= -1).all()
    assert (maps(done, "case_002") == -2).all()


def test_a_rater_who_draws_the_label_has_nnunets_arrays_and_locations(done, monkeypatch):
    """Bit for bit, what nnU-Net's loader reads of the label."""
    shutil.rmtree(done[0] / "labelsTr_raters")
    shutil.copytree(done[0] / "labelsTr", done[0] / "labelsTr_raters" / "only")
    assert len(run(done, monkeypatch)) == 5
    dataset = nnUNetDatasetBlosc2(str(done[1] / "LitePlans_3d_fullres"))
    for case in dataset.identifiers:
        _, label, _, properties = dataset.load_case(case)
        assert (maps(done, case)[0] == label[0]).all()
        located = load_pickle(str(raters_folder(done[1], done[2], CONFIGURATION) / f"{case}.pkl"))["class_locations"]
        assert located.keys() == properties["class_locations"].keys()
        assert all((located[key] == places).all() for key, places in properties["class_locations"].items())


def test_foreground_is_that_of_any_rater(done):
    """Of a tumour that only one of them drew, too."""
    folder = raters_folder(done[1], done[2], CONFIGURATION)
    located = load_pickle(str(folder / "case_000.pkl"))["class_locations"]
    stored = maps(done, "case_000")
    for label, places in located.items():
        assert (stored[tuple(places.T)] == label).all()
        assert set(places[:, 0]) == {0, 1, 2}


def test_the_dataset_puts_the_raters_behind_the_label(done):
    stock = nnUNetDatasetBlosc2(str(done[1] / "LitePlans_3d_fullres"))
    dataset = RatedDataset(stock, raters_folder(done[1], done[2], CONFIGURATION))
    _, label, earlier, _ = dataset.load_case("case_001")
    assert earlier is None
    part = label[:, 2:5, 3:9, 4:7]
    assert part.shape == (4, 3, 6, 3)
    assert (part[:1] == stock.load_case("case_001")[1][:, 2:5, 3:9, 4:7]).all()
    assert (part[1:] == maps(done, "case_001")[:, 2:5, 3:9, 4:7]).all()


def test_nothing_is_done_twice(done, monkeypatch):
    assert run(done, monkeypatch) == []


@pytest.mark.parametrize("how", ["removed", "added", "changed"])
def test_a_map_that_changed_is_done_again(done, monkeypatch, how):
    place = done[0] / "labelsTr_raters" / "strict"
    if how == "removed":
        (place / "case_000.nii.gz").unlink()
    elif how == "added":
        shutil.copy(done[0] / "labelsTr" / "case_001.nii.gz", place)
    else:
        shutil.copy(done[0] / "labelsTr" / "case_003.nii.gz", place)
    assert "found them from before " in problem(done)
    case = {"removed": "case_000", "added": "case_001", "changed": "case_003"}[how]
    assert run(done, monkeypatch) == [case]
    check_preprocessed_raters(done[1], done[2], CONFIGURATION, done[0])


def test_another_rater_does_all_of_it_anew(done, monkeypatch):
    shutil.copytree(done[0] / "labelsTr_raters" / "exact", done[0] / "labelsTr_raters" / "new")
    assert len(run(done, monkeypatch)) == 5
    assert maps(done, "case_000").shape[0] == 4


def test_never_preprocessed(done):
    shutil.rmtree(raters_folder(done[1], done[2], CONFIGURATION))
    text = problem(done)
    assert "expected preprocessed maps of several raters for plans 'LitePlans', found them deleted" in text
    assert text.endswith("nnunet_ext preprocess_raters -d 701 -p LitePlans -c 3d_fullres")
