"""Mean Teacher on a small dataset: teacher, noise, ramp, and a run that was killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_training import train_until_killed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.methods.mean_teacher.trainer import MeanTeacherTrainer

Make = Callable[..., Any]


def ready(half_labelled: Make, *arguments: Any, **knobs: Any) -> tuple[MeanTeacherTrainer, dict[str, Any]]:
    trainer = half_labelled(MeanTeacherTrainer, *arguments, **knobs)
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    trainer.network.train()
    return trainer, next(trainer.get_dataloaders()[0])


def weights(network: Any) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in network.state_dict().values()]


def test_the_network_is_the_plans_own(half_labelled: Make):
    trainer, _ = ready(half_labelled)
    plain = half_labelled(nnUNetTrainer)
    plain.initialize()
    assert list(trainer.network.state_dict()) == list(plain.network.state_dict())


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("labels", ["plain", "regions ignore"])
def test_a_step(half_labelled: Make, labels: str, configuration: str):
    trainer, batch = ready(half_labelled, configuration, labels=labels, unlabelled={"ramp": 0, "batch_size": 3})
    for _ in range(2):
        output = trainer.train_step(batch)
    assert set(output) == {"loss", "supervised_loss", "consistency_loss"}
    assert output["loss"] == pytest.approx(output["supervised_loss"] + 0.1 * output["consistency_loss"], abs=1e-6)
    assert output["consistency_loss"] > 0


def test_the_teacher_follows(half_labelled: Make):
    trainer, batch = ready(half_labelled, unlabelled={"ema_decay": 0.25})
    trainer.train_step(batch)
    first = weights(trainer.network)
    assert all(map(torch.equal, weights(trainer.teacher().network), first))
    trainer.train_step(batch)
    for teacher, before, now in zip(weights(trainer.teacher().network), first, weights(trainer.network), strict=True):
        torch.testing.assert_close(teacher, 0.25 * before + 0.75 * now)
    assert not trainer.teacher().network.training
    assert not any("teacher" in name for name in trainer.network.state_dict())
    held = {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}
    assert not held & {id(parameter) for parameter in trainer.teacher().network.parameters()}


def test_without_noise_and_with_the_student_as_teacher_there_is_nothing_to_agree_on(half_labelled: Make):
    trainer, batch = ready(half_labelled, mean_teacher={"noise": 0})
    assert float(trainer.train_step(batch)["consistency_loss"]) == pytest.approx(0, abs=1e-9)
    assert float(trainer.train_step(batch)["consistency_loss"]) == pytest.approx(0, abs=1e-9)  # decay 0 at first
    assert float(trainer.train_step(batch)["consistency_loss"]) > 1e-9


def test_the_noise_is_the_teachers_alone_and_cut_off(half_labelled: Make, monkeypatch):
    trainer, batch = ready(half_labelled, mean_teacher={"noise": 0.5})
    seen = {}
    for name, network in (("student", trainer.network), ("teacher", trainer.teacher().network)):
        network.register_forward_pre_hook(lambda _, images, name=name: seen.update({name: images[0].clone()}))
    trainer.train_step(batch)
    assert torch.equal(seen["student"], torch.cat((batch["data"], batch["unlabelled"])))
    noise = seen["teacher"] - batch["unlabelled"]
    assert float(noise.abs().max()) == pytest.approx(1.0, abs=1e-5)
    assert float(noise.std()) == pytest.approx(0.4797, rel=0.02)  # 0.5, less what is cut off
    assert abs(float(noise.mean())) < 0.02


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_with_two_views_the_teacher_sees_the_weak_one(half_labelled: Make, configuration: str):
    trainer, batch = ready(half_labelled, configuration, mean_teacher={"views": "weak_strong", "noise": 0.5})
    seen = {}
    for name, network in (("student", trainer.network), ("teacher", trainer.teacher().network)):
        network.register_forward_pre_hook(lambda _, images, name=name: seen.update({name: images[0].clone()}))
    output = trainer.train_step(batch)
    strong, weak = batch["unlabelled"].chunk(2, 1)
    assert strong.shape[1:] == batch["data"].shape[1:]
    assert torch.equal(seen["student"], torch.cat((batch["data"], strong)))
    assert torch.equal(seen["teacher"], weak)
    assert output["consistency_loss"] >= 0
    batches = trainer.get_dataloaders()[0]
    while torch.equal(strong, weak):  # stock applies each transform to few patches
        strong, weak = next(batches)["unlabelled"].chunk(2, 1)


def test_the_weight_grows(half_labelled: Make):
    trainer, batch = ready(half_labelled, unlabelled={"ramp": 1.0}, mean_teacher={"consistency_weight": 1000})
    output = trainer.train_step(batch | {"step": 3})
    weight = 1000 * 0.2865048  # 3 of 6 steps
    assert output["loss"] == pytest.approx(output["supervised_loss"] + weight * output["consistency_loss"], rel=1e-4)


def test_validation_knows_no_teacher(half_labelled: Make):
    trainer, batch = ready(half_labelled)
    trainer.network.eval()
    with torch.no_grad():
        mine = trainer.validation_step(batch)
        trainer.loss = trainer.loss.supervised
        theirs = trainer.validation_step(batch)
    assert mine["loss"] == theirs["loss"]


def losses(trainer: Any) -> list[float]:
    return [trainer.logger.get_value(name, step=None) for name in ("train_losses", "val_losses", "consistency_loss")]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_that_was_killed_and_continued_repeats_an_uninterrupted_one(half_labelled: Make, monkeypatch, workers):
    monkeypatch.setenv("nnUNet_n_proc_DA", workers)
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)
    knobs = {"num_epochs": 3, "num_iterations_per_epoch": 2, "seed": 5, "mean_teacher": {"consistency_weight": 1}}
    whole = half_labelled(MeanTeacherTrainer, run="whole", **knobs)
    whole.run_training()

    killed = half_labelled(MeanTeacherTrainer, run="killed", **knobs)
    train_until_killed(killed, 1)
    torch.rand(17)  # another process has other random numbers
    continued = half_labelled(MeanTeacherTrainer, run="killed", continued=True, **knobs)
    continued.load_checkpoint(str(Path(killed.output_folder) / "checkpoint_latest.pth"))
    assert continued.current_epoch == 1
    assert continued.teacher().updates == 2
    continued.run_training()

    assert losses(continued) == losses(whole)
    assert all(map(torch.equal, weights(continued.network), weights(whole.network)))
    assert all(map(torch.equal, weights(continued.teacher().network), weights(whole.teacher().network)))
    student, teacher = weights(whole.network), weights(whole.teacher().network)
    assert not all(map(torch.equal, student, teacher))


def test_a_checkpoint_without_teacher_makes_one_of_the_student(half_labelled: Make, capsys):
    trainer, batch = ready(half_labelled)
    for _ in range(3):
        trainer.train_step(batch)
    file = f"{trainer.output_folder}/checkpoint_latest.pth"
    trainer.save_checkpoint(file)
    checkpoint = torch.load(file, weights_only=False)
    assert checkpoint.pop("nnunet_ext")["teacher"]["updates"] == 3
    torch.save(checkpoint, file)
    other, _ = ready(half_labelled, continued=True)
    other.load_checkpoint(file)
    assert "holds no teacher" in capsys.readouterr().out
    assert all(map(torch.equal, weights(other.teacher().network), weights(trainer.network)))


def test_a_finished_run_keeps_its_teacher_when_continued(half_labelled: Make):
    trainer = half_labelled(MeanTeacherTrainer)
    trainer.run_training()
    file = f"{trainer.output_folder}/checkpoint_final.pth"
    before = torch.load(file, weights_only=False)["nnunet_ext"]["teacher"]
    again = half_labelled(MeanTeacherTrainer, continued=True)
    again.load_checkpoint(file)
    again.run_training()
    after = torch.load(file, weights_only=False)["nnunet_ext"]["teacher"]
    assert after["updates"] == before["updates"] == 6
    for name, tensor in before["network"].items():
        assert torch.equal(after["network"][name], tensor), name
