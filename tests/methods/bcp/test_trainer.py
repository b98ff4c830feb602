"""BCP on a small dataset: what is pasted, who labels it, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.errors import UserError
from nnunet_ext.methods.bcp.trainer import BCPTrainer

Make = Callable[..., Any]
LAST = {"step": 5}  # of six, long after the warm-up


def ready(half_labelled: Make, *arguments: Any, **knobs: Any) -> tuple[BCPTrainer, dict[str, Any]]:
    trainer = half_labelled(BCPTrainer, *arguments, **knobs)
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    trainer.network.train()
    return trainer, next(trainer.get_dataloaders()[0])


def seen(trainer: BCPTrainer, batch: dict[str, Any]) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor | None]:
    """Take a step; return the student's images, the targets of all scales and the box."""
    found: dict[str, Any] = {"box": None}
    loss = trainer.loss.forward
    trainer.loss.forward = lambda output, step: found.update(target=step.target, box=step.box) or loss(output, step)
    with trainer.network.register_forward_pre_hook(lambda _, images: found.update(images=images[0].clone())):
        trainer.train_step(batch)
    return found["images"], found["target"], found["box"]


def test_the_network_is_the_plans_own(half_labelled: Make):
    trainer, _ = ready(half_labelled)
    plain = half_labelled(nnUNetTrainer)
    plain.initialize()
    assert list(trainer.network.state_dict()) == list(plain.network.state_dict())


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("labels", ["plain", "ignore", "regions", "regions ignore"])
def test_a_step(half_labelled: Make, labels: str, configuration: str):
    trainer, batch = ready(half_labelled, configuration, labels=labels, bcp={"pseudo_label_weight": 0.25})
    warm = trainer.train_step(batch)
    assert warm["pseudo_label_loss"] == 0
    assert warm["loss"] == warm["supervised_loss"]
    pasted = trainer.train_step(batch | LAST)
    total = pasted["supervised_loss"] + 0.25 * pasted["pseudo_label_loss"]
    assert pasted["loss"] == pytest.approx(total, abs=1e-5)
    assert pasted["pseudo_label_loss"] != 0


def test_warm_up_pastes_both_labelled_images_into_each_other(half_labelled: Make, monkeypatch):
    box = torch.zeros(1, 1, 1, 1, 1, dtype=torch.bool)

    def known_box(shape: Any, share: float, generator: Any) -> torch.Tensor:
        nonlocal box
        assert share == 0.5
        box = torch.zeros(1, 1, *shape, dtype=torch.bool)
        box[..., 1:4, 2:7, 3:9] = True
        return box

    monkeypatch.setattr("nnunet_ext.methods.bcp.trainer.random_box", known_box)
    trainer, batch = ready(half_labelled, bcp={"warm_up": 0.5, "box": 0.5})
    images, targets, expected = seen(trainer, batch | {"step": 2})
    assert expected is None
    for found, given in ((images, batch["data"]), (targets[0], batch["target"][0])):
        pasted = torch.where(box, given.flip(0), given)
        assert torch.equal(found, pasted) or torch.equal(found, pasted.flip(0))
    assert seen(trainer, batch | {"step": 3})[2] is not None


@pytest.mark.parametrize("labels", ["plain", "regions ignore"])
def test_images_and_labels_are_pasted_alike(half_labelled: Make, labels: str):
    trainer, batch = ready(half_labelled, labels=labels)
    asked = {}
    teacher = trainer.teacher().network
    teacher.register_forward_hook(
        lambda _, images, logits: asked.update(images=images[0].clone(), logits=logits.clone())
    )
    images, targets, box = seen(trainer, batch | LAST)
    assert torch.equal(asked["images"], batch["unlabelled"])
    assert not teacher.training
    regions = "regions" in labels
    guessed = asked["logits"] > 0 if regions else asked["logits"].argmax(1, keepdim=True)
    if regions:  # nothing of a pseudo-label is ignored
        guessed = torch.cat((guessed, torch.zeros_like(guessed[:, :1])), 1)
    inside, outside = box[0], ~box[0]

    def same(one: torch.Tensor, other: torch.Tensor, where: torch.Tensor) -> bool:
        return torch.equal(one[:, where[0]], other[:, where[0]].to(one.dtype))

    framed = next(n for n in (0, 1) if same(images[0], batch["data"][n], outside))
    assert same(images[0], batch["unlabelled"][0], inside)
    assert same(targets[0][0], batch["target"][0][framed], outside)
    assert same(targets[0][0], guessed[0], inside)
    assert same(images[1], batch["unlabelled"][1], outside)
    assert same(images[1], batch["data"][1 - framed], inside)
    assert same(targets[0][1], guessed[1], outside)
    assert same(targets[0][1], batch["target"][0][1 - framed], inside)


def test_lower_scales_are_those_of_nnunet(half_labelled: Make, monkeypatch):
    monkeypatch.setattr("nnunet_ext.methods.bcp.trainer._paste", lambda frames, boxes, box: frames)
    trainer, batch = ready(half_labelled)
    expected = [scale.clone() for scale in batch["target"]]
    _, targets, _ = seen(trainer, batch)
    assert len(targets) == len(expected) > 1
    for found, scale in zip(targets, expected, strict=True):
        assert torch.equal(found, scale) or torch.equal(found, scale.flip(0))


def test_the_teacher_follows(half_labelled: Make):
    trainer, batch = ready(half_labelled, unlabelled={"ema_decay": 0.25})
    trainer.train_step(batch)
    first = [tensor.clone() for tensor in trainer.network.state_dict().values()]
    trainer.train_step(batch | LAST)
    pairs = zip(
        trainer.teacher().network.state_dict().values(), first, trainer.network.state_dict().values(), strict=True
    )
    for teacher, before, now in pairs:
        torch.testing.assert_close(teacher, 0.25 * before + 0.75 * now)


def test_a_random_sample_of_an_odd_batch_is_left_out(half_labelled: Make):
    trainer = half_labelled(BCPTrainer)
    trainer.configuration_manager.configuration["batch_size"] = 3
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    batch = next(trainer.get_dataloaders()[0])
    assert len(batch["data"]) == len(batch["unlabelled"]) == 3
    assert [len(seen(trainer, batch | {"step": step})[0]) for step in (0, 5)] == [2, 2]


def test_draws_depend_on_seed_and_step_alone(half_labelled: Make):
    trainer, batch = ready(half_labelled)
    boxes = [seen(trainer, batch | {"step": step})[2] for step in (3, 4, 3)]
    assert torch.equal(boxes[0], boxes[2])
    assert not torch.equal(boxes[0], boxes[1])


def test_a_batch_of_one_is_refused(half_labelled: Make):
    trainer = half_labelled(BCPTrainer)
    trainer.configuration_manager.configuration["batch_size"] = 1
    with pytest.raises(UserError, match=r"expects a batch of at least 2 on each GPU, got 1\. Raise batch_size"):
        trainer.initialize()


def test_one_pair_for_two_gpus_is_refused(half_labelled: Make, monkeypatch):
    trainer = half_labelled(BCPTrainer)
    trainer.is_ddp = True
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(UserError, match=r"expects a batch of at least 2 on each GPU, got 1\. .* use fewer GPUs"):
        trainer.initialize()


def test_another_number_of_unlabelled_samples_is_refused(half_labelled: Make):
    trainer = half_labelled(BCPTrainer, unlabelled={"batch_size": 3})
    with pytest.raises(UserError, match=r"as many unlabelled samples in a batch as labelled ones, 2, got .* 3\. Set"):
        trainer.initialize()


@pytest.mark.parametrize("knob", [{"box": 1}, {"warm_up": 1}, {"largest_component": 1.5}, {"pseudo_label_weight": -1}])
def test_illegal_knobs_are_refused(half_labelled: Make, knob):
    with pytest.raises(UserError, match=rf"knob 'bcp\.{next(iter(knob))}' expects"):
        half_labelled(BCPTrainer, bcp=knob)
