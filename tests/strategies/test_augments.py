"""The knob channel_dropout in trainings: who loses channels, again after a kill, and what it is good for."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from killed_training import train_until_killed
from redundant_channel import NAME

from nnunet_ext import sockets
from nnunet_ext.base.knobs import parse
from nnunet_ext.cli.main import main
from nnunet_ext.errors import UserError
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.methods.bcp.trainer import BCPTrainer
from nnunet_ext.methods.mean_teacher.trainer import MeanTeacherTrainer
from nnunet_ext.methods.self_training.trainer import SelfTrainingTrainer
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.strategies.augments import Augments
from nnunet_ext.strategies.lose_channels import LoseChannels

Make = Callable[..., Any]


def lost(images: torch.Tensor) -> list[tuple[bool, ...]]:
    """Which channels of each image of a batch (B, C, ...) are 0."""
    return [tuple((image.flatten(1) == 0).all(1).tolist()) for image in images]


def batches(trainer: Any, number: int = 4) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    trainer.initialize()
    train, val = trainer.get_dataloaders()
    return [next(train) for _ in range(number)], [next(val) for _ in range(number)]


def test_labelled_and_unlabelled_images_and_no_validation(redundant: Make) -> None:
    train, val = batches(redundant(MeanTeacherTrainer, channel_dropout=0.5))
    for name in ("data", "unlabelled"):
        found = [each for batch in train for each in lost(batch[name])]
        assert set(found) == {(False, False), (False, True), (True, False)}, name
    assert {each for batch in val for each in lost(batch["data"])} == {(False, False)}


def test_a_teacher_with_a_weak_view_sees_all_channels(redundant: Make) -> None:
    train, _ = batches(redundant(MeanTeacherTrainer, channel_dropout=0.5, mean_teacher={"views": "weak_strong"}))
    found = [each for batch in train for each in lost(batch["unlabelled"])]
    assert {each[:2] for each in found} > {(False, True), (True, False)}
    assert {each[2:] for each in found} == {(False, False)}


def test_without_the_knob_batches_are_as_before(redundant: Make) -> None:
    transforms = batches(redundant(NNUNetBaselineTrainer, channel_dropout=0.0), 1)
    assert {each for batch in transforms[0] for each in lost(batch["data"])} == {(False, False)}
    assert redundant(NNUNetBaselineTrainer).lose_channels is None


def test_ranks_lose_other_channels(redundant: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for rank in (0, 1, 0):
        monkeypatch.setattr(Ranks, "now", classmethod(lambda cls, rank=rank: cls(rank, 1)))
        train, _ = batches(redundant(NNUNetBaselineTrainer, channel_dropout=0.5))
        found.append([lost(batch["data"]) for batch in train])
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize("trainer", [NNUNetBaselineTrainer, BCPTrainer])
def test_a_continued_training_repeats_an_uninterrupted_one(redundant: Make, trainer: type[Any]) -> None:
    knobs = {"num_epochs": 2, "num_iterations_per_epoch": 2, "channel_dropout": 0.5}
    whole = redundant(trainer, run="whole", **knobs)
    whole.run_training()
    killed = redundant(trainer, run="killed", **knobs)
    train_until_killed(killed, 1)
    torch.rand(17)
    np.random.rand(17)
    continued = redundant(trainer, run="killed", continued=True, **knobs)
    continued.load_checkpoint(str(Path(killed.output_folder) / "checkpoint_latest.pth"))
    continued.run_training()
    mine, theirs = continued.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(mine[weight], theirs[weight]) for weight in theirs)


def test_pasted_images_lose_whole_channels(redundant: Make) -> None:
    trainer = redundant(BCPTrainer, num_iterations_per_epoch=5, channel_dropout=0.8)
    train, _ = batches(trainer)
    trainer.set_deep_supervision_enabled(True)
    assert {each for batch in train for each in lost(batch["data"])} == {(False, False)}
    for step in (0, 4000):  # pasted into each other, and with unlabelled images
        seen: list[torch.Tensor] = []
        with trainer.network.register_forward_pre_hook(lambda _, images, seen=seen: seen.append(images[0].clone())):
            for batch in train:
                trainer.train_step(batch | {"step": batch["step"] + step})
        assert {each for images in seen for each in lost(images)} >= {(False, True), (True, False)}


def test_mixed_images_lose_whole_channels(redundant: Make) -> None:
    trainer = redundant(SelfTrainingTrainer, channel_dropout=0.8, self_training={"mixing_share": 1})
    train, _ = batches(trainer)
    trainer.set_deep_supervision_enabled(True)
    seen: list[torch.Tensor] = []
    with trainer.network.register_forward_pre_hook(lambda _, images: seen.append(images[0].clone())):
        for batch in train:
            pseudo = {"pseudo_target": batch["target"], "unlabelled": batch["data"].flip(0)}
            trainer.train_step(batch | pseudo)
    assert {each for images in seen for each in lost(images)} >= {(False, True), (True, False)}


def test_every_trainer_has_it() -> None:
    for name in sockets.names("trainers"):
        kinds = [kind for kind in sockets.load("trainers", name).__mro__ if "get_training_transforms" in vars(kind)]
        for kind in kinds[: kinds.index(Augments)]:
            assert "super().get_training_transforms(" in inspect.getsource(kind.get_training_transforms), name


def test_members_of_a_collection_with_several_channels(collection: Path) -> None:
    planned = collection / "preprocessed" / "Dataset900_Phantoms"
    plans, description = (
        json.loads((planned / f"{name}.json").read_text()) for name in ("CollectionLitePlans", "dataset")
    )
    plans["nnunet_ext"]["channel_dropout"] = 0.2
    plans["continue_training"] = False
    trainer = sockets.load("trainers", "MultiHeadTrainer")(plans, "3d_fullres", 0, description, torch.device("cpu"))
    trainer.initialize()
    found = {}
    for number, member in enumerate(trainer.members):
        with trainer.on_task(number):
            transforms = trainer.bare_loaders()[0].transforms.transforms
        found[member.task.channels] = [each.channels for each in transforms if isinstance(each, LoseChannels)]
    assert found == {1: [], 2: [2], 4: [4]}
    assert trainer.lose_channels is not None


def test_images_with_one_channel(half_labelled: Make) -> None:
    trainer = half_labelled(NNUNetBaselineTrainer, channel_dropout=0.1)
    with pytest.raises(
        UserError, match="knob 'channel_dropout': expected images with at least two channels, found one"
    ):
        trainer.on_train_start()


@pytest.mark.parametrize("value", ["1", "-0.1", "true", "nan", "half"])
def test_illegal_values(value: str) -> None:
    with pytest.raises(UserError, match="knob 'channel_dropout' expects a number >= 0 and < 1, got"):
        parse([f"channel_dropout={value}"])


def dice(folder: Path, references: Path) -> float:
    """Mean over the cases."""
    found = []
    for file in sorted(references.iterdir()):
        one, other = (np.asarray(nibabel.load(each).dataobj) > 0 for each in (folder / file.name, file))
        found.append(2 * (one & other).sum() / (one.sum() + other.sum()))
    return float(np.mean(found))


@pytest.mark.slow
def test_prediction_without_a_channel(redundant: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    """The figures in docs/knobs.md are those of this test."""
    raw = redundant.root / "raw" / NAME  # type: ignore[attr-defined]
    (tmp_path / "first").mkdir()
    for file in (raw / "imagesTs").glob("*_0000.nii.gz"):
        shutil.copy(file, tmp_path / "first")
    words = ["predict", "-d", "990", "-c", "2d", "-p", "LitePlans", "-tr", "NNUNetBaselineTrainer", "-f", "0"]
    words += ["-device", "cpu", "--fast", "--disable_progress_bar"]
    scores = {}
    for probability in (0.0, 0.4):
        run = tmp_path / str(probability)
        trainer = redundant(
            NNUNetBaselineTrainer, run=run.name, num_epochs=4, num_iterations_per_epoch=60, channel_dropout=probability
        )
        trainer.run_training()
        monkeypatch.setenv("nnUNet_results", str(run))
        assert main([*words, "-i", str(raw / "imagesTs"), "-o", str(run / "full")]) == 0
        caplog.clear()
        assert main([*words, "-i", str(tmp_path / "first"), "-o", str(run / "one"), "--missing_channel", "1"]) == 0
        assert ("was trained without the knob channel_dropout" in caplog.text) == (probability == 0)
        scores[probability] = tuple(dice(run / name, raw / "labelsTs") for name in ("full", "one"))
    full, one = scores[0.4]
    assert one >= 0.9 * full > 0.8, scores
    full, one = scores[0.0]
    assert one < 0.5 * full, scores
