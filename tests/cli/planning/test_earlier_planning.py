"""Planning again after a kill or a full disk in planning: what is written again anyway stops nothing."""

from __future__ import annotations

import json

import pytest

from nnunet_ext.cli.main import main

FOLDER = "preprocessed/Dataset901_Phantom"
AGAIN = "-d 901 -pl LitePlanner --no_pp --no_pbar -npfp 1"


@pytest.mark.parametrize("how", ["half", "empty", "other"])
@pytest.mark.parametrize("name", ["dataset_fingerprint.json", "LitePlans.json", "dataset.json"])
def test_cut_short_files_are_written_again(nnunet, caplog, name, how):
    file = nnunet / FOLDER / name
    text = file.read_text()
    file.write_text({"half": text[: len(text) // 2], "empty": "", "other": "{}"}[how])
    assert main(["plan_and_preprocess", *AGAIN.split(), "--no_check"]) == 0
    again = json.loads(file.read_text())
    if name == "LitePlans.json":
        again["nnunet_ext"] = json.loads(text)["nnunet_ext"]
        assert f"{file} was cut short and is written again. If its plans had knobs" in caplog.text
    elif name == "dataset_fingerprint.json":
        assert f"{file} was cut short and is extracted again." in caplog.text
    assert again == json.loads(text)


def test_what_others_keep_there_is_no_matter_of_planning(nnunet):
    notes, other = nnunet / FOLDER / "notes.json", nnunet / FOLDER / "OtherPlans.json"
    notes.write_text("{hello")
    other.write_text('{"configurations": ')
    assert main(["plan_and_preprocess", *AGAIN.split(), "--no_check"]) == 0
    assert notes.read_text() == "{hello"
    assert other.read_text() == '{"configurations": '
    plans = json.loads((nnunet / FOLDER / "LitePlans.json").read_text())
    assert plans["nnunet_ext"]["num_epochs"] == 7  # knobs are carried over still


def test_whole_files_are_used_as_they_are(nnunet, caplog):
    file = nnunet / FOLDER / "dataset_fingerprint.json"
    before = file.stat().st_mtime_ns
    assert main(["plan_and_preprocess", *AGAIN.split(), "--no_check"]) == 0
    assert file.stat().st_mtime_ns == before
    assert "cut short" not in caplog.text


@pytest.mark.parametrize("planner", ["ExperimentPlanner", "nnUNetPlannerResEncM", "BANetPlanner", "LitePlanner"])
def test_the_name_of_the_plans_is_known_before_planning(nnunet, planner):
    from nnunet_ext.cli.planning.earlier_planning import default_plans_name
    from nnunet_ext.stock.lookup import find_planner

    found = find_planner(planner)
    assert default_plans_name(found) == found(901).plans_identifier
