"""Channels, geometry and plans."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from stock import (
    CHAIN_TRAINERS,
    SEMI_SUPERVISED_TRAINERS,
    check_predicted_and_evaluate,
    check_trained,
    dataset_to_train,
    plan_and_preprocess,
    predict,
    prepare_cascade,
    prepare_for,
    prepare_residual_encoder,
    read_plans,
    train,
    trained,
    whole_path,
)

from nnunet_ext.errors import UserError

pytestmark = pytest.mark.slow
PLANNERS = ("ExperimentPlanner", "nnUNetPlannerResEncM", "BANetPlanner", "BANetResEncMPlanner", "CoTrPlanner")
COLLECTION_PLANNERS = ("UniSegPlanner", "UniSegResEncMPlanner")


@pytest.mark.row("{channels}, {configuration}", of_each_kind=True)
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("channels", ["2 channels", "4 channels"])
def test_channels(trainer: str, channels: str, configuration: str, tmp_path: Path) -> None:
    whole_path(trainer, channels, configuration, tmp_path / "predictions")


@pytest.mark.row("anisotropic voxels, 1x3x3 kernels, {configuration}")
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_anisotropic(trainer: str, configuration: str, tmp_path: Path) -> None:
    planned = read_plans(trainer, "anisotropic")["configurations"]["3d_fullres"]["architecture"]
    kernels = planned["arch_kwargs"]["kernel_sizes"]
    assert kernels[0] == kernels[1] == [1, 3, 3]
    assert kernels[-1] == [3, 3, 3]
    whole_path(trainer, "anisotropic", configuration, tmp_path / "predictions")


@pytest.mark.row("residual encoder, {configuration}")
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_residual_encoder(trainer: str, configuration: str, tmp_path: Path) -> None:
    plans = prepare_residual_encoder(trainer, "plain")
    planned = read_plans(trainer, "plain", plans)["configurations"][configuration]["architecture"]
    assert planned["network_class_name"].endswith(".ResidualEncoderUNet")
    whole_path(trainer, "plain", configuration, tmp_path / "predictions", plans=plans)


@pytest.mark.row(
    "full-width plans of {planner}, 3d_fullres",
    expensive=True,
    of="datasets",
    why="collections have planners of their own",
)
@pytest.mark.parametrize("planner", PLANNERS)
def test_any_plans(trainer: str, planner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_any_plans(trainer, planner, tmp_path / "predictions", monkeypatch)


@pytest.mark.row(
    "full-width plans of {planner}, 3d_fullres",
    expensive=True,
    of="collections",
    why="the planner is for collections",
)
@pytest.mark.parametrize("planner", COLLECTION_PLANNERS)
def test_any_collection_plans(trainer: str, planner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_any_plans(trainer, planner, tmp_path / "predictions", monkeypatch)


def check_any_plans(trainer: str, planner: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan, and take the whole path."""
    number = prepare_for(trainer, "plain")
    with monkeypatch.context() as patch:
        patch.setenv("nnUNet_n_proc_DA", "1")  # stock planning needs one
        plan_and_preprocess(number, planner, "3d_fullres")
    plans = planned_by(planner, dataset_to_train(trainer, "plain"))
    planned = read_plans(trainer, "plain", plans)["configurations"]["3d_fullres"]["architecture"]
    assert planned["arch_kwargs"]["features_per_stage"][0] == 32
    whole_path(trainer, "plain", "3d_fullres", out, plans=plans)


def planned_by(planner: str, dataset: str) -> str:
    """Return the name of the plans that a planner wrote."""
    files = (Path(os.environ["nnUNet_preprocessed"]) / dataset).glob("*Plans.json")
    (name,) = [file.stem for file in files if json.loads(file.read_text()).get("experiment_planner_used") == planner]
    return name


@pytest.mark.row("3d_lowres -> 3d_cascade_fullres, {labels}", configuration="3d_lowres", of_each_kind=True)
@pytest.mark.parametrize("labels", ["plain", "regions", "regions+ignore"])
def test_cascade(trainer: str, labels: str, tmp_path: Path, refuses: Any) -> None:
    name = prepare_cascade(trainer, labels)
    check_trained(trained(trainer, labels, "3d_lowres", "all", plans=name))
    if trainer in (*SEMI_SUPERVISED_TRAINERS, *CHAIN_TRAINERS):
        with refuses(UserError, match="expected a configuration of one stage"):
            train(trainer, labels, "3d_cascade_fullres", plans=name)
        return
    check_trained(trained(trainer, labels, "3d_cascade_fullres", plans=name))
    lowres = predict(trainer, labels, "3d_lowres", tmp_path / "lowres", folds=["all"], plans=name)
    predictions = predict(
        trainer, labels, "3d_cascade_fullres", tmp_path / "cascade", "-prev_stage_predictions", lowres, plans=name
    )
    check_predicted_and_evaluate(labels, predictions)
