"""TransDoDNet's plans: the network for all tasks, dynamic head included, fits the budget of the stock planner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from small_unet import planned_unet

from nnunet_ext.cli.main import main
from nnunet_ext.methods.transdodnet.planner import (
    TransDoDNetPlanner,
    TransDoDNetResEncLPlanner,
    TransDoDNetResEncMPlanner,
)

NAME = "Dataset900_Planned"
LARGE = {"cases": 40, "spacing": (3.0, 0.8, 0.8), "shape": (80, 280, 280)}
LIVER = LARGE | {"labels": {"background": 0, "liver": 1, "tumour": 2}}
BRAIN = LARGE | {"channels": ("T1", "T2", "T1c", "FLAIR")}


def test_the_estimate_counts_tokens_and_head(fingerprinted):
    fingerprinted({"liver": LIVER, "brain": BRAIN})
    architecture = planned_unet([[1, 1, 1], [2, 4, 4], [2, 2, 2]], features=[32, 64, 128], convolutions=2)
    ours, theirs = (
        planner.static_estimate_VRAM_usage((16, 32, 64), 4, 3, *architecture.values())
        for planner in (TransDoDNetPlanner(NAME), ExperimentPlanner("Dataset001_liver"))
    )
    head = 16 * 32 * 64 * ((8 - 3) + 3 * 8 + 2 * 3)  # 8 features, not 3 classes; logits also as they are bounded
    # a token in each of 3 encoder layers: 2 levels x 4 points x 192 channels sampled, 8 heads' places and weights,
    # 2 x 768 and 8 x 192; in each of 3 decoder layers 192; one projection
    of_token = 3 * (2 * 4 * 192 + 2 * 4 * 8 * 4 + 2 * 768 + 8 * 192) + 3 * 192 + 192
    coarsest = 4 * 4 * 8
    assert ours - theirs == head + (8 * 8 * 16 + coarsest) * of_token + 2 * 128 * coarsest


def test_the_plans_carry_the_authors_optimiser(fingerprinted):
    folder = fingerprinted({"liver": {}})
    TransDoDNetPlanner(NAME).plan_experiment()
    block = {"optimizer": "AdamW", "initial_lr": 2e-4, "weight_decay": 1e-4, "warm_up": 0.01, "format": 1}
    for file in written(folder):
        assert json.loads(file.read_text())["nnunet_ext"] == block
    for planner in (TransDoDNetResEncMPlanner, TransDoDNetResEncLPlanner):
        assert planner.save_plans is TransDoDNetPlanner.save_plans


@pytest.mark.parametrize(
    ("words", "block"),
    [
        (["optimizer=SGD"], {"optimizer": "SGD"}),
        (["initial_lr=1e-3"], {"optimizer": "AdamW", "initial_lr": 1e-3, "weight_decay": 1e-4, "warm_up": 0.01}),
    ],
)
def test_an_optimizer_of_the_user_comes_without_the_recipe(words, block, fingerprinted):
    folder = fingerprinted({"liver": {}})
    command = ["plan_and_preprocess", "-d", "900", "-pl", "TransDoDNetPlanner", "--no_pp", "--no_check", "--no_pbar"]
    assert main([*command, "--set", *words]) == 0
    for file in written(folder):
        assert json.loads(file.read_text())["nnunet_ext"] == {**block, "format": 1}


def written(folder: Path) -> list[Path]:
    """The plans of the collection and of its member."""
    name = "TransDoDNetPlans"
    return [folder / f"{name}.json", folder.parent / "Dataset001_liver" / f"{name}_{NAME}.json"]
