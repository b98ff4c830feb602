"""``nnunet_ext plan_and_preprocess``: knobs in and carried over, mistakes before anything is written."""

import json
from pathlib import Path

import numpy as np
import pytest

from nnunet_ext.cli.main import main

PLANS = Path("preprocessed/Dataset901_Phantom/LitePlans.json")
AGAIN = "-d 901 -pl LitePlanner --no_pp --no_pbar"


def plan(words: str) -> int:
    return main(["plan_and_preprocess", *words.split()])


def block(root: Path) -> object:
    return json.loads((root / PLANS).read_text()).get("nnunet_ext")


def edit(root: Path, change) -> dict:
    plans = json.loads((root / PLANS).read_text())
    change(plans)
    (root / PLANS).write_text(json.dumps(plans))
    return plans


def test_knobs_are_written(planned):
    assert block(planned) == {"num_epochs": 7, "seed": 3, "ba_net": {"boundary_width": 5}, "format": 1}


def test_stock_planning_drops_the_knobs(nnunet):
    from nnunetv2.experiment_planning.plan_and_preprocess_api import plan_experiment_dataset

    from nnunet_ext.baseline import LitePlanner

    plan_experiment_dataset(901, LitePlanner)
    assert block(nnunet) is None


def test_planning_again_carries_the_knobs_over(nnunet):
    edit(nnunet, lambda plans: plans["configurations"]["2d"].update(nnunet_ext={"num_epochs": 2}))
    assert plan(AGAIN) == 0
    assert block(nnunet) == {"num_epochs": 7, "seed": 3, "ba_net": {"boundary_width": 5}, "format": 1}
    assert json.loads((nnunet / PLANS).read_text())["configurations"]["2d"]["nnunet_ext"] == {"num_epochs": 2}


def test_planning_again_changes_the_knobs_that_are_set(nnunet):
    assert plan(f"{AGAIN} --set num_epochs=9 ba_net.boundary_loss_weight=0.25") == 0
    expected = {"num_epochs": 9, "seed": 3, "ba_net": {"boundary_width": 5, "boundary_loss_weight": 0.25}, "format": 1}
    assert block(nnunet) == expected


@pytest.mark.parametrize(
    ("bad", "text", "setting"),
    [
        ({"num_epochs": 7, "format": 2}, "has format 2, this nnunet_ext reads up to 1", ""),
        ({"num_epochs": 7, "format": 2}, "has format 2, this nnunet_ext reads up to 1", " --set seed=4"),
        ({"num_epoch": 7}, "unknown knob 'num_epoch'. Did you mean 'num_epochs'?", ""),
        (7, "the block 'nnunet_ext' must be an object, got 7", " --set seed=4"),
    ],
)
def test_knobs_that_cannot_be_carried_over_are_not_lost(nnunet, mistake, bad, text, setting):
    before = edit(nnunet, lambda plans: plans.update(nnunet_ext=bad))
    assert text in mistake(f"plan_and_preprocess {AGAIN}{setting}")
    assert json.loads((nnunet / PLANS).read_text()) == before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("-d 901 --set num_epoch=3", "--set: unknown knob 'num_epoch'. Did you mean 'num_epochs'?"),
        ("-d 901 --set num_epochs", "--set expects key=value, got 'num_epochs'."),
        ("-d 901 -pl LitPlanner", "-pl: unknown planner 'LitPlanner'. Did you mean 'LitePlanner'?"),
        ("-d 902", "expected data set '902', found none. Legal: Dataset901_Phantom."),
    ],
)
def test_wrong_words_stop_before_anything_is_written(nnunet, mistake, words, text):
    before = {file: file.read_bytes() for file in nnunet.rglob("*.json")}
    assert text in mistake(f"plan_and_preprocess --no_pbar {words}")
    assert {file: file.read_bytes() for file in nnunet.rglob("*.json")} == before


def test_bad_data_stop_before_anything_is_written(nnunet, mistake, monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", str(nnunet / "empty"))
    file = nnunet / "raw/Dataset901_Phantom/imagesTr/case_001_0000.nii.gz"
    file.write_bytes(file.read_bytes()[:-1000])
    assert mistake(f"plan_and_preprocess {AGAIN}").startswith(f"{file}: expected a whole image, but it is corrupt")
    assert list((nnunet / "empty").iterdir()) == []


def test_a_file_in_place_of_the_preprocessed_folder(nnunet, mistake, monkeypatch):
    (nnunet / "file").write_text("")
    monkeypatch.setenv("nnUNet_preprocessed", str(nnunet / "file"))
    text = mistake(f"plan_and_preprocess {AGAIN}")
    assert text.startswith(f"nnUNet_preprocessed={nnunet / 'file'}: expected a folder that can be written, got ")


def test_a_stock_planner_is_taken(nnunet):
    assert plan("-d 901 --no_pp --no_pbar --no_check -gpu_memory_target 2") == 0
    plans = json.loads((nnunet / PLANS.with_name("nnUNetPlans.json")).read_text())
    assert plans["experiment_planner_used"] == "ExperimentPlanner"
    assert "nnunet_ext" not in plans


def test_preprocessed_data_lie_where_the_plans_say(nnunet):
    assert plan("-d 901 -pl LitePlanner -c 3d_fullres --no_pbar") == 0
    configuration = json.loads((nnunet / PLANS).read_text())["configurations"]["3d_fullres"]
    folder = nnunet / PLANS.parent / configuration["data_identifier"]
    assert sorted(file.name for file in folder.glob("*.pkl")) == ["case_000.pkl", "case_001.pkl", "case_002.pkl"]
    assert int(np.prod(configuration["patch_size"])) <= 90_000


def test_a_configuration_that_exists_nowhere(nnunet, mistake):
    text = mistake("plan_and_preprocess -d 901 -pl LitePlanner --no_pbar -c 3d_fulres")
    assert (
        text
        == "-c: plans 'LitePlans' have no configuration '3d_fulres'. Did you mean '3d_fullres'? Legal: 2d, 3d_fullres."
    )
