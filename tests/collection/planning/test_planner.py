"""Plans of collections, from fingerprints alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.base.planner import ExtPlanner
from nnunet_ext.collection.collect.part import Part, write_parts
from nnunet_ext.collection.manifest import ManifestTask
from nnunet_ext.collection.planning.member_inputs import check_part_folds
from nnunet_ext.collection.planning.planner import CollectionPlanner
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.data.folds import default_folds
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.methods.baseline.planner import CollectionLitePlanner
from nnunet_ext.phantoms.dataset import write_phantom_dataset

NAME = "Dataset900_Planned"
THREE = {"background": 0, "liver": 1, "tumour": 2}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3, "rim": [1, 2], "x": [1, 3], "ignore": 4}
CT = {"cases": 10, "spacing": (3.0, 1.0, 1.0), "shape": (50, 100, 100), "labels": THREE, "mean": 100.0}
SIDEWAYS = {"cases": 6, "spacing": (1.0, 1.0, 2.0), "shape": (120, 100, 60), "channels": ("CT", "PET"), "mean": 40.0}
MR = {
    "cases": 4,
    "spacing": (1.0, 1.0, 1.0),
    "shape": (60, 60, 60),
    "channels": ("T1", "T2", "T1c", "FLAIR"),
    "labels": REGIONS,
    "regions_class_order": [1, 2, 3, 1, 1],
    "relative": 0.5,
}
ALL = {"ct": CT, "sideways": SIDEWAYS, "mr": MR}


class Planner(CollectionPlanner, ExtPlanner, ExperimentPlanner):
    """The mix-in on the stock planner."""

    default_plans_name = "TestPlans"


def plan(folder: Path, planner: type[CollectionPlanner] = CollectionLitePlanner, **options) -> tuple[dict, list[dict]]:
    """Plan, and return the plans of the collection and of its members as they are on disk."""
    planned = planner(NAME, **options).plan_experiment()
    written = json.loads((folder / f"{planned['plans_name']}.json").read_text())
    tasks = TaskTable.read(written).tasks
    return written, [member_plans(folder, task.dataset, planned["plans_name"]) for task in tasks]


def member_plans(folder: Path, dataset: str, name: str = "CollectionLitePlans") -> dict:
    return json.loads((folder.parent / dataset / f"{name}_{NAME}.json").read_text())


def setting(plans: dict, key: str):
    return plans["configurations"]["3d_fullres"][key]


def test_what_all_share_and_what_each_keeps(fingerprinted):
    shared, (ct, sideways, mr) = plan(fingerprinted(ALL))
    for plans in (ct, sideways, mr):
        assert list(plans["configurations"]) == ["3d_fullres"]
        assert setting(plans, "batch_dice") is False
        for key in ("patch_size", "batch_size", "architecture"):
            assert setting(plans, key) == setting(shared, key)
        assert setting(plans, "data_identifier") == f"CollectionLitePlans_{NAME}_3d_fullres"
        assert plans["experiment_planner_used"] == "CollectionLitePlanner"
    assert setting(ct, "spacing") == [3.0, 1.0, 1.0]
    assert setting(sideways, "spacing") == [2.0, 1.0, 1.0]
    assert setting(mr, "spacing") == [1.0, 1.0, 1.0]
    assert [plans["transpose_forward"] for plans in (ct, sideways, mr)] == [[0, 1, 2], [2, 0, 1], [0, 1, 2]]
    assert setting(sideways, "normalization_schemes") == ["CTNormalization", "ZScoreNormalization"]
    assert setting(mr, "use_mask_for_norm") == [True] * 4
    assert ct["foreground_intensity_properties_per_channel"]["0"]["mean"] == 100.0
    assert sideways["foreground_intensity_properties_per_channel"]["0"]["mean"] == 40.0


def test_patch_and_topology_come_from_the_medians_over_members(fingerprinted):
    shared, _ = plan(fingerprinted(ALL))
    assert list(shared["configurations"]) == ["3d_fullres"]
    assert setting(shared, "spacing") == [2.0, 1.0, 1.0]  # of 3 1 1, 2 1 1, 1 1 1
    assert setting(shared, "median_image_size_in_voxels") == [60.0, 100.0, 100.0]  # of 50 100 100, 60 120 100, 60 60 60
    depth, height, width = setting(shared, "patch_size")
    assert depth < min(height, width)
    assert depth * height * width <= 90_000
    assert setting(shared, "batch_size") == 2


def test_plans_of_one_member_are_those_of_stock(fingerprinted):
    folder = fingerprinted({"ct": CT})
    (written, (member,)) = plan(folder, Planner)
    stock = ExperimentPlanner("Dataset001_ct").plan_experiment()
    for key, value in json.loads(json.dumps(stock["configurations"]["3d_fullres"])).items():
        if key not in ("data_identifier", "batch_dice"):
            assert setting(member, key) == value
    assert setting(written, "patch_size") == setting(member, "patch_size")
    ours = {key: value for key, value in member.items() if key not in ("configurations", "collection", "plans_name")}
    theirs = {key: value for key, value in stock.items() if key not in ("configurations", "plans_name")}
    assert ours == json.loads(json.dumps(theirs)) | {"experiment_planner_used": "Planner"}


def test_the_task_table(fingerprinted):
    shared, members = plan(fingerprinted(ALL, {"ct": {"weight": 2.5}}))
    table = TaskTable.read(shared)
    assert table.bound is None
    assert table.collection == NAME
    assert [(t.name, t.dataset, t.channels, t.heads, t.cases, t.weight) for t in table.tasks] == [
        ("ct", "Dataset001_ct", 1, 3, 10, 2.5),
        ("sideways", "Dataset002_sideways", 2, 2, 6, None),
        ("mr", "Dataset003_mr", 4, 5, 4, None),
    ]
    for plans, name in zip(members, ("ct", "sideways", "mr"), strict=True):
        assert TaskTable.read(plans) == table.bound_to(name)


def test_the_collections_folder_has_what_stock_training_wants(fingerprinted):
    folder = fingerprinted(ALL, spacing="own")
    shared, _ = plan(folder)
    description = json.loads((folder / "dataset.json").read_text())
    manifest = json.loads((folder.parents[1] / "nnUNet_raw" / NAME / "dataset.json").read_text())
    assert description == manifest | {
        "channel_names": {"0": "T1", "1": "T2", "2": "T1c", "3": "FLAIR"},
        "labels": {"background": 0, "class 1": 1, "class 2": 2, "class 3": 3, "class 4": 4},
        "numTraining": 20,
        "file_ending": ".nii.gz",
    }
    assert PlansManager(shared).get_label_manager(description).num_segmentation_heads == 5
    fingerprint = json.loads((folder / "dataset_fingerprint.json").read_text())
    assert len(fingerprint["spacings"]) == len(fingerprint["shapes_after_crop"]) == 20
    assert list(fingerprint["foreground_intensity_properties_per_channel"]) == ["0", "1", "2", "3"]


def test_planning_is_deterministic(fingerprinted):
    folder = fingerprinted(ALL, spacing="one", normalization="one")
    plan(folder)
    before = {file: file.read_bytes() for file in folder.parent.rglob("*.json")}
    plan(folder)
    assert {file: file.read_bytes() for file in folder.parent.rglob("*.json")} == before


def test_one_spacing(fingerprinted):
    shared, members = plan(fingerprinted(ALL, spacing="one"))
    for plans in (shared, *members):  # the median of 3 1 1, 1 1 2 and 1 1 1
        assert setting(plans, "spacing") == [1.0, 1.0, 1.0]
        assert plans["transpose_forward"] == [0, 1, 2]


def test_shapes_are_those_at_the_target_spacing(fingerprinted):
    """At 1 mm: 150 100 100 (50 slices of 3 mm), 120 100 120 (60 slices of 2 mm), 60 60 60."""
    shared, _ = plan(fingerprinted(ALL, spacing="one"))
    assert setting(shared, "median_image_size_in_voxels") == [120.0, 100.0, 100.0]


def test_the_voxels_of_all_cases_of_all_members_limit_the_batch(fingerprinted):
    """Stock rule: a batch sees at most a twentieth of the voxels; of 100 + 20 images of one patch each it is 6."""
    small = {"shape": (32, 32, 32)}
    shared, _ = plan(fingerprinted({"many": {"cases": 100} | small, "few": {"cases": 20} | small}), Planner)
    assert setting(shared, "patch_size") == [32, 32, 32]
    assert setting(shared, "batch_size") == 6


def test_a_tasks_own_spacing_wins(fingerprinted):
    _, members = plan(fingerprinted(ALL, {"ct": {"spacing": [1.0, 1.0, 4.0]}}, spacing="one"))
    assert [setting(plans, "spacing") for plans in members] == [[4.0, 1.0, 1.0], [1.5, 1.0, 1.0], [1.5, 1.0, 1.0]]
    assert [plans["transpose_forward"] for plans in members] == [[2, 0, 1], [2, 0, 1], [2, 0, 1]]


def test_the_command_lines_spacing_wins_over_all(fingerprinted):
    folder = fingerprinted(ALL, {"ct": {"spacing": [1.0, 1.0, 4.0]}}, spacing="one")
    shared, members = plan(folder, overwrite_target_spacing=[1.0, 2.0, 1.5])
    for plans in members:
        assert setting(plans, "spacing") == [2.0, 1.0, 1.5]
        assert plans["transpose_forward"] == [1, 0, 2]
    assert setting(shared, "spacing") == [2.0, 1.0, 1.5]


def test_one_normalization_for_members_with_the_same_schemes(fingerprinted):
    other = CT | {"mean": 200.0, "cases": 30, "relative": 0.1}
    _, (ct, _, second) = plan(fingerprinted({"ct": CT, "mr": MR, "second": other}, normalization="one"))
    intensities = ct["foreground_intensity_properties_per_channel"]["0"]
    assert intensities == second["foreground_intensity_properties_per_channel"]["0"]
    assert intensities["mean"] == pytest.approx(175.0)
    assert (intensities["percentile_00_5"], intensities["percentile_99_5"]) == (92.0, 208.0)
    assert intensities["std"] == pytest.approx(np.sqrt(9 + 0.25 * 75**2 + 0.75 * 25**2))


def test_one_mask_for_members_with_the_same_schemes(fingerprinted):
    few, many = MR | {"cases": 5, "relative": 1.0}, MR | {"cases": 20, "relative": 0.5}
    folder = fingerprinted({"few": few, "many": many, "ct": CT | {"relative": 0.1}})
    _, members = plan(folder)
    assert [setting(plans, "use_mask_for_norm") for plans in members] == [[False] * 4, [True] * 4, [False]]
    raw = folder.parents[1] / "nnUNet_raw" / NAME / "dataset.json"
    raw.write_text(json.dumps(json.loads(raw.read_text()) | {"normalization": "one"}))
    _, members = plan(folder)
    assert [setting(plans, "use_mask_for_norm") for plans in members] == [[True] * 4, [True] * 4, [False]]


def test_a_tasks_own_normalization_wins(fingerprinted):
    schemes = ["ZScoreNormalization", "RescaleTo01Normalization"]
    settings = {"sideways": {"normalization": schemes}}
    _, (ct, sideways) = plan(fingerprinted({"ct": CT, "sideways": SIDEWAYS | {"relative": 0.5}}, settings))
    assert setting(ct, "normalization_schemes") == ["CTNormalization"]
    assert setting(sideways, "normalization_schemes") == schemes
    assert setting(sideways, "use_mask_for_norm") == [True, False]


def test_members_with_few_cases_get_a_fold_for_each(fingerprinted):
    folder = fingerprinted(ALL)
    plan(folder)
    file = folder.parent / "Dataset003_mr" / "splits_final.json"
    folds = json.loads(file.read_text())
    assert [fold["val"] for fold in folds] == [["case0"], ["case1"], ["case2"], ["case3"]]
    assert folds[1]["train"] == ["case0", "case2", "case3"]
    assert [path.parent.name for path in folder.parent.rglob("splits_final.json")] == ["Dataset003_mr"]
    file.write_text(json.dumps(folds[:2]))
    plan(folder)
    assert json.loads(file.read_text()) == folds[:2]


def test_parts_have_the_fingerprint_of_their_source(fingerprinted):
    folder = fingerprinted(ALL, {"mr": {"source": "Dataset001_ct"}})
    _, members = plan(folder)
    source, part = (folder.parent / name / "dataset_fingerprint.json" for name in ("Dataset001_ct", "Dataset003_mr"))
    assert part.read_bytes() == source.read_bytes()
    assert setting(members[2], "spacing") == [3.0, 1.0, 1.0]
    source.unlink()
    with pytest.raises(UserError, match="expected the fingerprint of the source of task 'mr', found no file"):
        plan(folder)


def test_folds_that_were_collected_again(fingerprinted):
    folder = fingerprinted(ALL)
    raw = folder.parents[1] / "nnUNet_raw" / "Dataset003_mr" / "splits_final.json"
    folds = [{"train": ["case0", "case1"], "val": ["case2", "case3"]}]
    raw.write_text(json.dumps(folds))
    plan(folder)
    copied = folder.parent / "Dataset003_mr" / "splits_final.json"
    assert json.loads(copied.read_text()) == folds
    plan(folder)
    raw.write_text(json.dumps([{"train": ["case2", "case3"], "val": ["case0", "case1"]}]))
    with pytest.raises(UserError, match=r"splits_final.json: expected the folds of .*, found others: task 'mr' was"):
        plan(folder)
    assert json.loads(copied.read_text()) == folds


def test_the_plans_name_is_in_all_names(fingerprinted):
    folder = fingerprinted({"ct": CT})
    planned, (member,) = plan(folder, plans_name="Mine")
    assert planned["plans_name"] == "Mine"
    assert member["plans_name"] == f"Mine_{NAME}"
    assert setting(member, "data_identifier") == f"Mine_{NAME}_3d_fullres"


def test_an_ordinary_data_set_is_refused(fingerprinted):
    folder = fingerprinted({"ct": CT})
    with pytest.raises(UserError, match=r"Dataset001_ct: expected a collection for CollectionLitePlanner, found an"):
        CollectionLitePlanner("Dataset001_ct").plan_experiment()
    assert not (folder.parent / "Dataset001_ct" / "CollectionLitePlans.json").exists()


def test_single_slices_are_refused_before_anything_is_written(fingerprinted):
    folder = fingerprinted({"ct": CT, "flat": {"shape": (1, 80, 80), "spacing": (9.0, 1.0, 1.0)}})
    with pytest.raises(UserError, match=r"Dataset002_flat: expected 3D images .* found single slices"):
        plan(folder)
    assert sorted(file.name for file in folder.parent.rglob("*.json")) == ["dataset_fingerprint.json"] * 2


def test_the_mix_in_leaves_stock_search_to_the_budget(fingerprinted):
    folder = fingerprinted({"ct": CT | {"shape": (200, 400, 400)}, "mr": MR | {"shape": (300, 300, 300)}})
    small, _ = plan(folder, Planner, gpu_memory_target_in_gb=4.0)
    large, members = plan(folder, Planner, gpu_memory_target_in_gb=8.0)
    voxels = [np.prod(setting(plans, "patch_size")) * setting(plans, "batch_size") for plans in (small, large)]
    assert 1.3 < voxels[1] / voxels[0] < 3
    assert all(setting(plans, "patch_size") == setting(large, "patch_size") for plans in members)


def test_the_network_of_another_collection_is_taken_over(fingerprinted):
    folder = fingerprinted(ALL)
    other = folder.with_name("Dataset800_Earlier") / "CollectionLitePlans.json"
    raw = folder.parents[1] / "nnUNet_raw" / NAME / "dataset.json"
    raw.write_text(json.dumps(json.loads(raw.read_text()) | {"network_of": other.parent.name}))
    with pytest.raises(UserError, match=r"CollectionLitePlans.json: expected the plans whose network .* takes over"):
        plan(folder)
    other.parent.mkdir()
    earlier = {"patch_size": [8, 24, 16], "batch_size": 3, "architecture": {"arch_kwargs": {"n_stages": 2}}}
    other.write_text(json.dumps({"configurations": {"3d_fullres": earlier}}))
    shared, members = plan(folder)
    for plans in (shared, *members):
        assert {key: setting(plans, key) for key in earlier} == earlier


@pytest.fixture
def folds_of_part(tmp_path, monkeypatch) -> tuple[ManifestTask, Path, Path]:
    """A part's task, and the folds of its source and its own planned ones, equally many, none written yet."""
    for name in ("raw", "preprocessed"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    source = write_phantom_dataset(tmp_path / "raw", "Dataset004_Source", cases=6, shape=(8, 12, 10))
    names = ("case_000", "case_002", "case_003", "case_005")
    part = Part(RawDataset.read(source), "Dataset900_All", "part", {"organ": "organ"}, names)
    write_parts({"Dataset901_part": part}, tmp_path / "raw", show_progress=False)
    for name in ("Dataset004_Source", "Dataset901_part"):
        (tmp_path / "preprocessed" / name).mkdir(parents=True)
    task = ManifestTask("part", "Dataset901_part", "Dataset004_Source")
    source, planned = (
        tmp_path / "preprocessed" / str(name) / "splits_final.json" for name in (task.source, task.dataset)
    )
    return task, source, planned


def test_folds_of_a_source_that_were_changed(folds_of_part):
    task, source, _ = folds_of_part
    check_part_folds(task)
    folds = default_folds([f"case_{number:03d}" for number in range(6)])
    source.write_text(json.dumps(folds))
    check_part_folds(task)
    source.write_text(json.dumps(folds[::-1]))
    with pytest.raises(UserError, match=r"expected the folds of Dataset004_Source, .* found others: they were changed"):
        check_part_folds(task)


def test_folds_of_a_part_that_was_collected_again(folds_of_part):
    task, source, planned = folds_of_part
    own = json.loads((source.parents[2] / "raw" / task.dataset / "splits_final.json").read_text())
    planned.write_text(json.dumps([*own, own[0]]))  # a fold that the user added
    check_part_folds(task)
    planned.write_text(json.dumps(own[::-1]))
    with pytest.raises(UserError, match="found others: task 'part' was collected again"):
        check_part_folds(task)
