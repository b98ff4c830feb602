"""VerSemiTrainer: what a step sees, computes and learns; reductions, refusals, resume."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnunet_ext.errors import UserError
from nnunet_ext.methods.dodnet.trainer import DoDNetTrainer
from nnunet_ext.methods.versemi.card import WEIGHTS
from nnunet_ext.methods.versemi.trainer import VerSemiTrainer

NAME, PLANS = "Dataset900_Mixed", "CollectionLitePlans"
OFF = dict.fromkeys(WEIGHTS, 0)


def trainer(
    root: Path, kind: type = VerSemiTrainer, tasks: tuple[str, ...] = (), start: bool = True, **knobs: Any
) -> Any:
    """Make a trainer; with ``tasks`` of these members alone."""
    folder = root / "preprocessed" / NAME
    plans, description = (json.loads((folder / f"{name}.json").read_text()) for name in (PLANS, "dataset"))
    if tasks:
        _keep(root, plans, tasks)
    plans["nnunet_ext"] |= knobs
    run = kind(plans | {"continue_training": False}, "3d_fullres", 0, description, torch.device("cpu"))
    run.initialize()
    if start:
        run.dataloader_train, run.dataloader_val = run.get_dataloaders()
        run.on_train_epoch_start()
    return run


def _keep(root: Path, plans: dict[str, Any], tasks: tuple[str, ...]) -> None:
    kept = [task for task in plans["collection"]["tasks"] if task["name"] in tasks]
    plans["collection"]["tasks"] = kept
    for task in kept:
        file = root / "preprocessed" / task["dataset"] / f"{PLANS}_{NAME}.json"
        theirs = json.loads(file.read_text())
        theirs["collection"]["tasks"] = kept
        file.write_text(json.dumps(theirs))
    (root / "raw" / NAME / "dataset.json").unlink(missing_ok=True)


def steps(run: Any, number: int = 8) -> list[dict]:
    outputs = []
    for step in range(number):
        if step and step % run.num_iterations_per_epoch == 0:
            run.current_epoch += 1
            run.on_train_epoch_start()
        outputs.append(run.train_step(next(run.dataloader_train)))
    return outputs


ONE_CHANNEL = ("organ", "nested", "slab")


def test_all_members_train_with_labels_regions_ignored_voxels_and_another_number_of_channels(half_labelled):
    run = trainer(half_labelled)
    outputs = steps(run)
    assert all(math.isfinite(output["loss"]) for output in outputs)
    assert {place for output in outputs for place, _ in output["foreground"]} == {0, 1, 2, 3} or len(outputs) == 8
    run.on_train_epoch_end(outputs)
    run.on_validation_epoch_end([run.validation_step(next(run.dataloader_val)) for _ in range(4)])


def test_with_all_weights_zero_it_is_dodnet_bit_for_bit(half_labelled):
    weights, losses = [], []
    for kind, knobs in ((DoDNetTrainer, {}), (VerSemiTrainer, {"versemi": OFF})):
        run = trainer(half_labelled, kind, ONE_CHANNEL, multi_dataset={"mixed_batches": True}, **knobs)
        losses.append([float(output["loss"]) for output in steps(run)])
        weights.append(run.network.state_dict())
    assert losses[0] == losses[1]
    assert set(weights[1]) - set(weights[0]) == {"synthetic"}
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
