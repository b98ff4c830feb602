"""Labelled and unlabelled samples one after the other, in every semi-supervised trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_ext import sockets
from nnunet_ext.base.gpu_memory import GIB
from nnunet_ext.base.knobs import changed
from nnunet_ext.errors import UserError
from nnunet_ext.methods.mean_teacher.trainer import MeanTeacherTrainer
from nnunet_ext.semi_supervised.checkpointed_parts import CheckpointedParts
from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer

Make = Callable[..., Any]
EXACT = {
    "LeFeDTrainer": {"lefed": {"bottleneck_dropout": 0, "head_dropout": 0, "passes": 1}},
    "MCNetPlusTrainer": {"mc_net_plus": {"dropout": 0}},
}
NAMES = [
    name for name in sockets.names("trainers") if issubclass(sockets.load("trainers", name), SemiSupervisedTrainer)
]


def ready(half_labelled: Make, name: str, **knobs: Any) -> Any:
    trainer = half_labelled(sockets.load("trainers", name), seed=3, **EXACT.get(name, {}), **knobs)
    trainer.initialize()
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    trainer.network.train()
    return trainer


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_that_of_the_whole_batch(half_labelled: Make, name: str):
    whole = ready(half_labelled, name, unlabelled={"checkpoint_halves": False})
    batch = next(whole.get_dataloaders()[0])
    if name in ("PseudoLabelTrainer", "SelfTrainingTrainer"):
        batch |= {"unlabelled": batch["data"].flip(0), "pseudo_target": batch["target"]}
    apart = ready(half_labelled, name, unlabelled={"checkpoint_halves": True})
    apart.network.load_state_dict(whole.network.state_dict())
    seen: list[int] = []
    apart.network.register_forward_pre_hook(lambda network, _: seen.append(1) if network.training else None)
    losses = []
    for trainer in (whole, apart):
        torch.manual_seed(1)
        losses.append(float(trainer.train_step(dict(batch))["loss"]))
    assert len(seen) == 3  # both parts, and the first one again
    assert not isinstance(apart.network, CheckpointedParts)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for (parameter, mine), theirs in zip(apart.network.named_parameters(), whole.network.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5, msg=parameter)


def with_batch_norm(half_labelled: Make, halves: bool | None) -> Any:
    trainer = half_labelled(MeanTeacherTrainer, unlabelled={"checkpoint_halves": halves})
    trainer.configuration_manager.configuration["architecture"]["arch_kwargs"]["norm_op"] = "torch.nn.BatchNorm3d"
    return trainer


def test_batch_norm_is_refused_or_left_whole(half_labelled: Make):
    with pytest.raises(UserError, match=r"knob unlabelled\.checkpoint_halves expects .*, got batch norm\. Set it to"):
        with_batch_norm(half_labelled, True).initialize()
    trainer = with_batch_norm(half_labelled, None)
    trainer.initialize()
    trainer.needed_gpu_memory(1)
    assert not trainer.checkpoints_halves


def test_by_default_what_is_free_decides(half_labelled: Make):
    trainer = half_labelled(MeanTeacherTrainer, unlabelled={"batch_size": 3})
    trainer.initialize()
    assert trainer.batch_size == 2
    assert trainer.needed_gpu_memory(100 * GIB).samples == 5
    assert not trainer.checkpoints_halves
    assert trainer.needed_gpu_memory(trainer.needed_gpu_memory(100 * GIB).planned - 1).samples == 3
    assert trainer.checkpoints_halves
    assert "samples run one after the other, to save memory" in Path(trainer.log_file).read_text()


@pytest.mark.parametrize(("halves", "samples"), [(True, 2), (False, 4)])
def test_the_knob_decides(half_labelled: Make, halves: bool, samples: int):
    trainer = half_labelled(MeanTeacherTrainer, unlabelled={"checkpoint_halves": halves})
    trainer.initialize()
    assert [trainer.needed_gpu_memory(free).samples for free in (1, 100 * GIB)] == [samples] * 2


def test_pasting_adds_no_samples(half_labelled: Make):
    trainer = half_labelled(sockets.load("trainers", "BCPTrainer"))
    trainer.initialize()
    assert trainer.samples_of_parts() == (1, 1)


def test_a_training_may_go_on_with_or_without_halves():
    knobs = [{"unlabelled": {"checkpoint_halves": halves, "ramp": 0.4}} for halves in (True, False)]
    assert changed(*knobs) == []
    knobs[0]["unlabelled"]["ramp"] = 0.1
    assert changed(*knobs) == ["unlabelled.ramp: 0.1 -> 0.4"]
