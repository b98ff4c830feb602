"""DoDNetTrainer: the plans' knobs make the network, and a step trains all of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.errors import UserError
from nnunet_ext.methods.dodnet.trainer import DoDNetTrainer

NAME, PLANS = "Dataset900_Phantoms", "CollectionLitePlans"


def trainer(root: Path, **knobs: object) -> DoDNetTrainer:
    folder = root / "preprocessed" / NAME
    plans, description = (json.loads((folder / f"{name}.json").read_text()) for name in (PLANS, "dataset"))
    plans["nnunet_ext"]["dodnet"] = knobs
    run = DoDNetTrainer(plans | {"continue_training": False}, "3d_fullres", 0, description, torch.device("cpu"))
    run.initialize()
    run.dataloader_train, run.dataloader_val = run.get_dataloaders()
    run.on_train_epoch_start()
    return run


@pytest.mark.parametrize("deep_supervision", [True, False])
def test_knobs_reach_the_network_and_a_step_trains_all_of_it(collection, deep_supervision):
    run = trainer(collection, head_width=5, head_depth=2, deep_supervision=deep_supervision)
    assert (run.network.head.width, run.network.head.depth) == (5, 2)
    assert run.network.decoder.deep_supervision is deep_supervision
    before = {name: parameter.detach().clone() for name, parameter in run.network.named_parameters()}
    batches = [next(run.dataloader_train) for _ in range(run.num_iterations_per_epoch)]
    assert all(isinstance(batch["target"], list) is deep_supervision for batch in batches)
    assert {batch["task"] for batch in batches} == set(range(5))
    assert all(math.isfinite(run.train_step(batch)["loss"]) for batch in batches)
    lowest = f"pre_heads.{len(run.network.pre_heads) - 1}."
    for name, parameter in run.network.named_parameters():
        if not name.startswith(lowest) or not deep_supervision:  # nnU-Net's loss gives the lowest scale weight 0
            assert not torch.equal(parameter, before[name]), name
    assert math.isfinite(run.validation_step(next(run.dataloader_val))["loss"])


def test_ordinary_plans_are_refused():
    manager = PlansManager({"plans_name": "LitePlans", "configurations": {"3d_fullres": {}}})
    with pytest.raises(UserError, match="DoDNetTrainer: expected plans of a collection, got 'LitePlans'"):
        DoDNetTrainer.build_network_architecture(manager, None, 1, 1)
