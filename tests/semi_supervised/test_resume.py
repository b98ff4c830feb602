"""Every semi-supervised trainer and nnU-Net's own: a run that was killed and continued repeats an uninterrupted one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_training import train_until_killed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext import sockets
from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer

TRAINERS = [
    name
    for name in sockets.names("trainers")
    if name == "NNUNetBaselineTrainer" or issubclass(sockets.load("trainers", name), SemiSupervisedTrainer)
]


def losses(trainer: Any) -> dict[str, list[float]]:
    names = ("train_losses", "val_losses", *trainer.loss_parts)
    return {name: trainer.logger.get_value(name, step=None) for name in names}


@pytest.mark.parametrize("name", TRAINERS)
def test_losses_and_weights(half_labelled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)
    trainer = sockets.load("trainers", name)
    knobs = {"num_epochs": 3, "num_iterations_per_epoch": 2, "seed": 5}
    whole = half_labelled(trainer, run="whole", **knobs)
    whole.run_training()

    killed = half_labelled(trainer, run="killed", **knobs)
    train_until_killed(killed, 1)
    torch.rand(17)  # another process has other random numbers
    continued = half_labelled(trainer, run="killed", continued=True, **knobs)
    continued.load_checkpoint(str(Path(killed.output_folder) / "checkpoint_latest.pth"))
    assert continued.current_epoch == 1
    continued.run_training()

    assert losses(continued) == losses(whole)
    mine, theirs = continued.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(mine[weight], theirs[weight]) for weight in theirs)
