"""Trainings on the maps of several raters: reductions to nnU-Net, what each mode sees, views, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.methods.raters.trainer import RatersTrainer

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)


def losses(trainer: Any) -> list[float]:
    trainer.run_training()
    return trainer.logger.get_value("train_losses", step=None)


@pytest.mark.parametrize("mode", ["random", "soft", "agreement", "heads", "padl", "majority"])
def test_trains(rated: Make, mode: str) -> None:
    print(losses(rated(RatersTrainer, num_epochs=1, raters={"mode": mode})))
