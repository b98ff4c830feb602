"""Planners from a fingerprint alone: those of methods fit the stock planner's budget, Lite's fit a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
)

from nnunet_ext import sockets
from nnunet_ext.methods.ba_net.planner import BANetPlanner, BANetResEncLPlanner, BANetResEncMPlanner
from nnunet_ext.methods.baseline.planner import LitePlanner
from nnunet_ext.methods.dodnet.planner import DoDNetPlanner, DoDNetResEncLPlanner, DoDNetResEncMPlanner
from nnunet_ext.methods.lefed.planner import LeFeDPlanner, LeFeDResEncLPlanner, LeFeDResEncMPlanner
from nnunet_ext.methods.mc_net_plus.planner import MCNetPlusPlanner, MCNetPlusResEncLPlanner, MCNetPlusResEncMPlanner
from nnunet_ext.methods.transdodnet.planner import (
    TransDoDNetPlanner,
    TransDoDNetResEncLPlanner,
    TransDoDNetResEncMPlanner,
)
from nnunet_ext.methods.uniseg.planner import UniSegPlanner, UniSegResEncLPlanner, UniSegResEncMPlanner
from nnunet_ext.semi_supervised.planner import (
    SemiSupervisedPlanner,
    SemiSupervisedResEncLPlanner,
    SemiSupervisedResEncMPlanner,
)

NAME = "Dataset003_Planned"
COLLECTION = "Dataset900_Planned"
LARGE = {"cases": 40, "spacing": (3.0, 0.8, 0.8), "shape": (80, 280, 280)}
LIVER = LARGE | {"labels": {"background": 0, "liver": 1, "tumour": 2}}
BRAIN = LARGE | {"channels": ("T1", "T2", "T1c", "FLAIR")}


@pytest.fixture(autouse=True)
def dataset(tmp_path, monkeypatch) -> Path:
    """A CT dataset of 40 cases, 80 x 280 x 280 voxels of 3 x 0.8 x 0.8 mm, that exists as a fingerprint only."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    raw, preprocessed = tmp_path / "nnUNet_raw" / NAME, tmp_path / "nnUNet_preprocessed" / NAME
    raw.mkdir(parents=True)
    preprocessed.mkdir(parents=True)
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "tumour": 2},
        "numTraining": 40,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
        "dataset": {f"case{i}": {"images": [f"case{i}_0000.nii.gz"], "label": f"case{i}.nii.gz"} for i in range(40)},
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    intensities = {
        "mean": 90,
        "median": 95,
        "std": 30,
        "min": -900,
        "max": 1200,
        "percentile_00_5": -20,
        "percentile_99_5": 180,
    }
    fingerprint = {
        "spacings": [[3.0, 0.8, 0.8]] * 40,
        "shapes_after_crop": [[80, 280, 280]] * 40,
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "median_relative_size_after_cropping": 1.0,
    }
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    return preprocessed


def planned(planner: type[ExperimentPlanner], **options) -> dict:
    return planner(NAME, **options).plan_experiment()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("planner", "stock", "name"),
    [
        (BANetPlanner, ExperimentPlanner, "BANetPlans"),
        (BANetResEncMPlanner, nnUNetPlannerResEncM, "BANetResEncMPlans"),
        (BANetResEncLPlanner, nnUNetPlannerResEncL, "BANetResEncLPlans"),
    ],
)
def test_ba_net_plans_count_the_second_decoder(planner, stock, name, dataset):
    ours, theirs = planned(planner), planned(stock)
    assert ours["plans_name"] == name
    assert (dataset / f"{name}.json").is_file()
    for configuration in ("2d", "3d_fullres"):
        mine, stocks = ours["configurations"][configuration], theirs["configurations"][configuration]
        assert mine["architecture"]["network_class_name"] == stocks["architecture"]["network_class_name"]
        voxels, stock_voxels = (c["batch_size"] * np.prod(c["patch_size"]) for c in (mine, stocks))
        assert 0.3 * stock_voxels < voxels < stock_voxels
        assert mine["spacing"] == stocks["spacing"]
        assert mine["data_identifier"] == f"{name}_{configuration}"


@pytest.mark.parametrize(
    ("planner", "stock", "share"),
    [
        (UniSegPlanner, ExperimentPlanner, 0.7),
        (UniSegResEncMPlanner, nnUNetPlannerResEncM, 0.7),
        (UniSegResEncLPlanner, nnUNetPlannerResEncL, 0.7),
        (DoDNetPlanner, ExperimentPlanner, 0.6),
        (DoDNetResEncMPlanner, nnUNetPlannerResEncM, 0.6),
        (DoDNetResEncLPlanner, nnUNetPlannerResEncL, 0.6),
        (TransDoDNetPlanner, ExperimentPlanner, 0.5),
        (TransDoDNetResEncMPlanner, nnUNetPlannerResEncM, 0.5),
        (TransDoDNetResEncLPlanner, nnUNetPlannerResEncL, 0.5),
    ],
)
def test_collection_plans_fit_the_stock_budget(planner, stock, share, fingerprinted):
    folder = fingerprinted({"liver": LIVER, "brain": BRAIN})
    ours, theirs = planner(COLLECTION).plan_experiment(), stock("Dataset002_brain").plan_experiment()
    name = planner.__name__.replace("Planner", "Plans")
    assert ours["plans_name"] == name
    mine, stocks = (plans["configurations"]["3d_fullres"] for plans in (ours, theirs))
    assert mine["architecture"]["network_class_name"] == stocks["architecture"]["network_class_name"]
    voxels, stock_voxels = (c["batch_size"] * np.prod(c["patch_size"]) for c in (mine, stocks))
    assert share * stock_voxels < voxels <= stock_voxels
    for dataset in ("Dataset001_liver", "Dataset002_brain"):
        member = json.loads((folder.parent / dataset / f"{name}_{COLLECTION}.json").read_text())
        configuration = member["configurations"]["3d_fullres"]
        assert configuration["patch_size"] == list(mine["patch_size"])
        assert configuration["data_identifier"] == f"{name}_{COLLECTION}_3d_fullres"


def estimates(planner: type[ExperimentPlanner], patch: list[int]) -> int:
    architecture = planned(LitePlanner)["configurations"]["3d_fullres"]["architecture"]
    return planner.static_estimate_VRAM_usage(patch, 1, 3, *architecture.values())


def test_the_estimate_is_larger_than_stock_and_shrinks_with_the_patch():
    large, small = estimates(BANetPlanner, [64, 64, 64]), estimates(BANetPlanner, [32, 64, 64])
    assert large == 2 * small
    assert 1.2 < large / estimates(ExperimentPlanner, [64, 64, 64]) < 2


@pytest.mark.parametrize(
    ("planners", "of_stock"),
    [
        ((SemiSupervisedPlanner, SemiSupervisedResEncMPlanner, SemiSupervisedResEncLPlanner), (2, 2)),
        ((LeFeDPlanner, LeFeDResEncMPlanner, LeFeDResEncLPlanner), (6, 7.5)),
        ((MCNetPlusPlanner, MCNetPlusResEncMPlanner, MCNetPlusResEncLPlanner), (6, 7.5)),
    ],
)
def test_semi_supervised_planners_count_unlabelled_samples_too(planners, of_stock):
    """Patch and batch of labelled samples, times what a step holds for one of them, are within the stock budget."""
    stock = (ExperimentPlanner, nnUNetPlannerResEncM, nnUNetPlannerResEncL)
    for planner, theirs in zip(planners, stock, strict=True):
        assert issubclass(planner, theirs)
        assert planner.default_plans_name == planner.__name__.replace("Planner", "Plans")
    planner = planners[0]
    least, most = of_stock
    plans = planned(planner)["configurations"]["3d_fullres"]
    assert plans["data_identifier"] == f"{planner.default_plans_name}_3d_fullres"
    size = plans["patch_size"], 1, 3, *plans["architecture"].values()
    estimate, budget = planner.static_estimate_VRAM_usage(*size), planner(NAME).UNet_reference_val_3d
    assert least <= estimate / ExperimentPlanner.static_estimate_VRAM_usage(*size) <= most
    assert 0.6 * budget < estimate * plans["batch_size"] / 2 <= budget


def test_lite_plans_are_what_they_promise():
    plans = planned(LitePlanner, gpu_memory_target_in_gb=24)
    assert plans["plans_name"] == "LitePlans"
    for name in ("2d", "3d_fullres", "3d_lowres"):
        configuration = plans["configurations"][name]
        arguments = configuration["architecture"]["arch_kwargs"]
        assert configuration["batch_size"] == 2
        assert 20_000 < np.prod(configuration["patch_size"]) <= 90_000
        assert list(arguments["features_per_stage"])[:3] == [8, 16, 32]
        assert set(arguments["n_conv_per_stage"]) == set(arguments["n_conv_per_stage_decoder"]) == {1}
        assert arguments["n_stages"] >= 3
        assert configuration["architecture"]["network_class_name"].endswith("PlainConvUNet")
        assert configuration["data_identifier"] == f"LitePlans_{name}"
    assert plans["configurations"]["3d_cascade_fullres"]["previous_stage"] == "3d_lowres"


@pytest.mark.parametrize("name", ["BANetPlanner", "BANetResEncMPlanner", "BANetResEncLPlanner", "LitePlanner"])
def test_default_plans_names_are_their_own(name):
    planner = sockets.load("planners", name)(NAME)
    assert planner.plans_identifier == name.replace("Planner", "Plans")
    assert planner.generate_data_identifier("3d_fullres") == f"{planner.plans_identifier}_3d_fullres"
