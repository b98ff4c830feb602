"""Guided sampling: the network predicts the unlabelled cases now and then, and patches follow what it finds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.errors import UserError
from nnunet_ext.lefed import LeFeDTrainer
from nnunet_ext.mean_teacher import MeanTeacherTrainer
from nnunet_ext.unlabelled import predict_unlabelled as predicting
from nnunet_ext.unlabelled.pseudo_labelled import PseudoLabelled

Make = Callable[..., Any]
EVERY_OTHER = {"guided_every": 2}


class KilledError(Exception):
    """Stands for a kill."""


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Epoch and name of each case that is predicted."""
    done: list[tuple[int, str]] = []
    predict = predicting._predict

    def notes(trainer: Any, case: str, *rest: Any) -> None:
        done.append((trainer.current_epoch, case))
        predict(trainer, case, *rest)

    monkeypatch.setattr(predicting, "_predict", notes)
    return done


def losses(trainer: Any) -> dict[str, list[float]]:
    names = ("train_losses", "val_losses", *trainer.loss_parts)
    return {name: trainer.logger.get_value(name, step=None) for name in names}


@pytest.mark.parametrize(
    ("kind", "configuration", "labels"),
    [(MeanTeacherTrainer, "3d_fullres", "plain"), (LeFeDTrainer, "2d", "regions ignore")],
)
def test_a_training(half_labelled: Make, monkeypatch, predicted, kind, configuration, labels):
    trainer = half_labelled(
        kind, configuration, labels=labels, num_epochs=5, num_iterations_per_epoch=1, unlabelled=EVERY_OTHER
    )
    seen = []
    step = kind.train_step

    def notes(self: Any, batch: dict[str, Any]) -> dict:
        loader = self.dataloader_train.data_loader.unlabelled
        seen.append((isinstance(loader._data, PseudoLabelled), loader.oversample_foreground_percent, sorted(batch)))
        return step(self, batch)

    monkeypatch.setattr(kind, "train_step", notes)
    trainer.run_training()
    assert [epoch for epoch, _ in predicted] == [2] * 3 + [4] * 3
    assert len(set(predicted)) == 6
    names = ["data", "keys", "step", "target", "unlabelled"]
    assert seen == [(False, 0.0, names)] * 2 + [(True, 0.33, names)] * 3
    assert len(list(trainer.pseudo_labels.place.glob("*.b2nd"))) == 3


def test_without_the_knob_nothing_is_predicted(half_labelled: Make, predicted):
    trainer = half_labelled(MeanTeacherTrainer, num_epochs=3, num_iterations_per_epoch=1)
    trainer.run_training()
    assert predicted == []
    assert not trainer.pseudo_labels.place.exists()


def test_patches_lie_where_foreground_was_found(half_labelled: Make):
    """In 2d a patch is a slice: the one in which the network found something."""
    trainer = half_labelled(MeanTeacherTrainer, "2d", unlabelled=EVERY_OTHER)
    trainer.initialize()
    trainer.current_epoch = 2
    trainer._renew_pseudo_labels()
    loader = trainer.dataloader_train.data_loader.unlabelled
    loader.oversample_foreground_percent = 1.0
    loader.transforms = None
    data, cases, where = loader._data, {}, 3
    for case in data.identifiers:
        image, labels, _, properties = data.load_case(case)
        stamped = np.zeros(image.shape, np.float32)
        stamped[:, where] = 1
        locations = {key: [] for key in properties["class_locations"]} | {1: np.array([[0, where, 5, 5]])}
        cases[case] = (stamped, labels[:], None, properties | {"class_locations": locations})
    data.load_case = cases.__getitem__
    batches = [next(loader)["data"] for _ in range(4)]
    assert all((patch != 0).any() for batch in batches for patch in batch)
    loader.oversample_foreground_percent = 0.0
    batches = [next(loader)["data"] for _ in range(4)]
    assert not all((patch != 0).any() for batch in batches for patch in batch)


@pytest.mark.parametrize("lost", [False, True])
def test_a_run_that_was_killed(half_labelled: Make, monkeypatch, predicted, lost: bool):
    """It repeats an uninterrupted one; if the predictions are lost, the network makes new ones."""
    knobs = {"num_epochs": 4, "num_iterations_per_epoch": 2, "seed": 5, "unlabelled": EVERY_OTHER}
    whole = half_labelled(MeanTeacherTrainer, run="whole", **knobs)
    whole.run_training()
    killed = half_labelled(MeanTeacherTrainer, run="killed", **knobs)
    on_train_epoch_start = killed.on_train_epoch_start

    def dies() -> None:
        if killed.current_epoch == 3:
            raise KilledError
        on_train_epoch_start()

    monkeypatch.setattr(killed, "on_train_epoch_start", dies)
    with pytest.raises(KilledError):
        killed.run_training()
    torch.rand(17)  # another process has other random numbers
    if lost:
        shutil.rmtree(killed.pseudo_labels.place)
    predicted.clear()
    continued = half_labelled(MeanTeacherTrainer, run="killed", continued=True, **knobs)
    continued.load_checkpoint(str(Path(killed.output_folder) / "checkpoint_latest.pth"))
    assert continued.current_epoch == 3
    continued.run_training()
    assert [epoch for epoch, _ in predicted] == [3] * (3 * lost)
    assert len(losses(continued)["train_losses"]) == 4
    if not lost:
        assert losses(continued) == losses(whole)


def test_an_illegal_knob(half_labelled: Make):
    with pytest.raises(UserError, match=r"knob 'unlabelled\.guided_every' expects an integer >= 1, or null"):
        half_labelled(MeanTeacherTrainer, unlabelled={"guided_every": 0})
