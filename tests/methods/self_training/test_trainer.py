"""Self-training on a small dataset: its parts, what they see, and runs that were killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.methods.pseudo_label.trainer import PseudoLabelTrainer
from nnunet_ext.methods.self_training.trainer import SelfTrainingTrainer

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}


def assert_equal(one: Any, other: Any) -> None:
    """Weights and logs of two trainings are the same, bit for bit."""
    theirs = weights(other)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in weights(one).items())
    for name in ("train_losses", "val_losses", "lrs", "ema_fg_dice"):
        assert one.logger.get_value(name, step=None) == other.logger.get_value(name, step=None)


def test_one_round_without_selection_and_mixing_is_pseudo_label_trainer(half_labelled: Make):
    knobs = {"num_epochs": 4, "num_iterations_per_epoch": 2, "seed": 3}
    own = {"rounds": 1, "selection": [], "mixing_share": 0, "supervised_share": 0.5}
    mine = half_labelled(SelfTrainingTrainer, run="mine", self_training=own, **knobs)
    mine.run_training()
    theirs = half_labelled(PseudoLabelTrainer, run="theirs", pseudo_label={"anew": False}, **knobs)
    theirs.run_training()
    assert_equal(mine, theirs)


def test_no_round_is_stock(half_labelled: Make):
    knobs = {"num_epochs": 2, "num_iterations_per_epoch": 2, "seed": 3}
    mine = half_labelled(SelfTrainingTrainer, run="mine", self_training={"rounds": 0}, **knobs)
    mine.run_training()
    stock = half_labelled(NNUNetBaselineTrainer, run="stock", **knobs)
    stock.run_training()
    assert_equal(mine, stock)
    assert not list(Path(mine.output_folder).glob("pseudo_labels*"))


def test_all_parts(half_labelled: Make):
    own = {"selection": [0.6, 1], "mixing_share": 1, "fine_tune_share": 0.2}
    knobs = {"num_epochs": 6, "num_iterations_per_epoch": 1, "seed": 3}
    trainer = half_labelled(SelfTrainingTrainer, self_training=own, **knobs)
    trainer.run_training()
    assert trainer.part_lengths == (3, 1, 1, 1)
