"""Completion markers: what was preprocessed, and every way in which that can cease to be so."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
from preprocessed_folder import write_preprocessed

from nnunet_ext.collection.planning.member_state import (
    check_complete,
    is_complete,
    marked_cases,
    member_state,
    write_marker,
)
from nnunet_ext.errors import UserError

CONFIGURATION = "3d_fullres"
PLANS = {
    "plans_name": "UniSegPlans_Dataset900_MOTS",
    "dataset_name": "Dataset003_Liver",
    "experiment_planner_used": "UniSegPlanner",
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "foreground_intensity_properties_per_channel": {"0": {"mean": 1.0}},
    "configurations": {
        CONFIGURATION: {
            "data_identifier": "UniSegPlans_Dataset900_MOTS_3d_fullres",
            "spacing": [1.0, 2.0, 3.0],
            "patch_size": [8, 8, 8],
            "batch_size": 2,
            "normalization_schemes": ["CTNormalization"],
            "use_mask_for_norm": [False],
        }
    },
    "collection": {"format": 1, "name": "Dataset900_MOTS", "tasks": [], "task": "liver"},
}
REMEDY = "Run nnunet_ext plan_and_preprocess -d 900 -pl UniSegPlanner"


@pytest.fixture
def member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A member with two preprocessed cases and a marker."""
    monkeypatch.delenv("nnUNet_raw", raising=False)
    description = {"labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    write_preprocessed(tmp_path, data_of(tmp_path).name, ["a", "b"])
    write_marker(tmp_path, PLANS, CONFIGURATION)
    return tmp_path


def data_of(member: Path) -> Path:
    return member / "UniSegPlans_Dataset900_MOTS_3d_fullres"


def changed(**settings: object) -> dict:
    plans = deepcopy(PLANS)
    plans["configurations"][CONFIGURATION].update(settings)
    return plans


def problem(member: Path, plans: dict = PLANS) -> str:
    with pytest.raises(UserError) as error:
        check_complete(member, plans, CONFIGURATION)
    text = str(error.value)
    assert text.startswith(f"{data_of(member)}: expected preprocessed data of plans 'UniSegPlans_Dataset900_MOTS', ")
    assert text.endswith(REMEDY)
    assert "\n" not in text
    return text


def test_complete(member):
    check_complete(member, PLANS, CONFIGURATION)
    assert is_complete(member, PLANS, CONFIGURATION)
    assert marked_cases(member, PLANS, CONFIGURATION) == ["a", "b"]
    marker = json.loads((member / "UniSegPlans_Dataset900_MOTS_3d_fullres.complete.json").read_text())
    assert sorted(marker["files"]) == [f"{case}{end}" for case in "ab" for end in (".b2nd", ".pkl", "_seg.b2nd")]


def test_what_preprocessing_does_not_depend_on_is_free(member):
    plans = changed(patch_size=[16, 16, 16], batch_size=3)
    plans |= {"plans_name": "Wide_Dataset900_MOTS", "nnunet_ext": {"num_epochs": 2}}
    check_complete(member, plans, CONFIGURATION)


@pytest.mark.parametrize(
    "plans",
    [
        changed(spacing=[1.0, 2.0, 3.5]),
        changed(normalization_schemes=["ZScoreNormalization"]),
        changed(use_mask_for_norm=[True]),
        changed(preprocessor_name="Other"),
        changed(resampling_fn_data_kwargs={"order": 1}),
        PLANS | {"transpose_forward": [1, 0, 2]},
        PLANS | {"image_reader_writer": "NibabelIO"},
        PLANS | {"foreground_intensity_properties_per_channel": {"0": {"mean": 2.0}}},
    ],
)
def test_planned_again_with_something_else(member, plans):
    assert "found those of earlier plans or labels" in problem(member, plans)


def test_labels_that_were_changed(member):
    (member / "dataset.json").write_text(json.dumps({"labels": {"liver": 1, "ignore": 2}, "file_ending": ".nii.gz"}))
    assert "found those of earlier plans or labels" in problem(member)


def test_never_preprocessed(member):
    member_state(member, PLANS, CONFIGURATION).marker.remove()
    assert marked_cases(member, PLANS, CONFIGURATION) == []
    assert "found some without UniSegPlans_Dataset900_MOTS_3d_fullres.complete.json: preprocessing was" in problem(
        member
    )
    data_of(member).rename(member / "elsewhere")
    assert "found none: they were never preprocessed" in problem(member)


def test_deleted(member):
    data_of(member).rename(member / "elsewhere")
    assert "found them deleted" in problem(member)


def test_a_file_that_is_gone_and_one_of_another_size(member):
    (data_of(member) / "b.pkl").unlink()
    assert "found 1 file changed, missing or new (b.pkl)" in problem(member)
    (data_of(member) / "a.b2nd").write_text("short")
    assert "found 2 files changed, missing or new (a.b2nd first)" in problem(member)


def test_no_label_for_the_final_validation(member):
    (member / "gt_segmentations" / "b.nii.gz").unlink()
    assert "found no label of b in gt_segmentations" in problem(member)


def test_a_file_more(member):
    (data_of(member) / "c.pkl").write_text("")
    assert "found 1 file changed, missing or new (c.pkl)" in problem(member)


def test_the_remedy_names_plans_with_a_name_of_their_own(member):
    plans = changed(data_identifier="Mine_Dataset900_MOTS_3d_fullres")
    with pytest.raises(UserError, match=r"-d 900 -pl UniSegPlanner -overwrite_plans_name Mine$"):
        check_complete(member, plans, CONFIGURATION)


def test_a_damaged_marker(member):
    (member / "UniSegPlans_Dataset900_MOTS_3d_fullres.complete.json").write_text("{")
    with pytest.raises(UserError, match="expected JSON"):
        check_complete(member, PLANS, CONFIGURATION)
