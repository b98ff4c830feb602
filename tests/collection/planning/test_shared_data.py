"""Preprocessed data that several plans of a member share."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

from nnunet_ext.cli.main import main
from nnunet_ext.collection.planning.shared_data import share_data
from nnunet_ext.data.preprocessed.data_hash import preprocessing_hash
from nnunet_ext.data.preprocessed.marker import DataMarker

CASES = ["case_0", "case_1"]


def plans(name: str, spacing: float = 1.0) -> dict[str, Any]:
    return {
        "plans_name": name,
        "configurations": {"3d_fullres": {"data_identifier": f"{name}_3d", "spacing": [spacing]}},
    }


@pytest.fixture
def member(tmp_path: Path) -> Path:
    """Complete data of plans A."""
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0}}))
    data = tmp_path / "A_3d"
    data.mkdir()
    for case in CASES:
        for ending in (".b2nd", "_seg.b2nd", ".pkl"):
            (data / f"{case}{ending}").write_text(f"{case}{ending}")
    DataMarker(data).finish(preprocessing_hash(tmp_path, plans("A"), plans("A")["configurations"]["3d_fullres"]))
    return tmp_path


def test_equal_data_are_linked_and_each_folder_is_whole_by_itself(member):
    (member / "B_3d").mkdir()
    (member / "B_3d" / "old.pkl").write_text("of an earlier planning")
    assert share_data(member, plans("B"), "3d_fullres", CASES) == member / "A_3d"
    names = sorted(file.name for file in (member / "B_3d").iterdir())
    assert names == sorted(file.name for file in (member / "A_3d").iterdir())
    assert all((member / "A_3d" / name).samefile(member / "B_3d" / name) for name in names)
    shutil.rmtree(member / "A_3d")
    assert (member / "B_3d" / "case_1.pkl").read_text() == "case_1.pkl"
    assert not list(member.glob("*.partial"))


def test_data_that_are_not_these_are_left_alone(member):
    assert share_data(member, plans("B", spacing=2.0), "3d_fullres", CASES) is None
    assert share_data(member, plans("B"), "3d_fullres", [*CASES, "case_2"]) is None
    assert share_data(member, plans("A"), "3d_fullres", CASES) is None  # its own
    (member / "A_3d" / "case_0.pkl").unlink()
    assert share_data(member, plans("B"), "3d_fullres", CASES) is None
    assert not (member / "B_3d").exists()


def test_a_file_system_without_hard_links(member, monkeypatch):
    def refuse(*places: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert share_data(member, plans("B"), "3d_fullres", CASES) is None
    assert sorted(place.name for place in member.iterdir()) == ["A_3d", "A_3d.complete.json", "dataset.json"]


def test_planning_under_another_name_preprocesses_nothing(collection, monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    monkeypatch.setattr(DefaultPreprocessor, "run_case", lambda *_: pytest.fail("preprocessed again"))
    words = ["-d", "900", "-pl", "CollectionLitePlanner", "-overwrite_plans_name", "Other", "--no_pbar", "--no_check"]
    assert main(["plan_and_preprocess", *words]) == 0
    told = capsys.readouterr().out
    assert told.count("same as data of other plans: ") == 5
    folder = collection / "preprocessed" / "Dataset901_Organs"
    first, second = (folder / f"{name}_Dataset900_Phantoms_3d_fullres" for name in ("CollectionLitePlans", "Other"))
    assert DataMarker(second).cases() == DataMarker(first).cases() != []
    assert all(file.samefile(second / file.name) for file in first.iterdir())
    assert main(["plan_and_preprocess", *words]) == 0
    assert capsys.readouterr().out.count("already preprocessed") == 5
