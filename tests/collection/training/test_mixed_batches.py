"""Batches whose samples are of several tasks: loader, network, loss, training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import nn
from torch.testing import assert_close

from nnunet_ext.collection.training.loaders import MixedLoader
from nnunet_ext.collection.training.mixed_loss import MixedLoss, MixedStep
from nnunet_ext.collection.training.schedule import TaskSchedule
from nnunet_ext.collection.training.trainer import MultiTaskTrainer
from nnunet_ext.errors import UserError
from nnunet_ext.methods.dodnet.trainer import DoDNetTrainer
from nnunet_ext.methods.multi_head.trainer import MultiHeadTrainer
from nnunet_ext.methods.transdodnet.trainer import TransDoDNetTrainer
from nnunet_ext.methods.uniseg.trainer import UniSegTrainer
from nnunet_ext.seeding.seeds import BatchSeeds, Purpose

NAME, PLANS = "Dataset900_Phantoms", "CollectionLitePlans"
TASKS, HEADS = ["organs", "lung", "kidney"], [3, 2, 2]  # those of one channel; lung has an ignore label


# loader


class Loader:
    """A stock loader's attributes; its data tell its task and whether foreground was forced."""

    def __init__(self, task: int, *, scales: int) -> None:
        self.task, self.scales = task, scales
        self.batch_size, self.oversample_foreground_percent = 3, 0.33

    def __next__(self) -> dict[str, Any]:
        forced = round(self.batch_size * (1 - self.oversample_foreground_percent)) == 0  # stock's rule, sample 0
        data = torch.tensor([[self.task, forced]] * self.batch_size)
        target = [data.repeat(1, 2) + 10 * scale for scale in range(self.scales)]
        return {"data": data, "target": target if self.scales > 1 else target[0], "keys": [f"case of {self.task}"]}


def mixed_loader(
    schedule: Any, *, scales: int = 2, workers: int = 1, first_step: int = 0, before: int = 0, together: int = 3
) -> MixedLoader:
    loaders = [Loader(task, scales=scales) for task in range(3)]
    sizes = {"batch_size": 3, "before": before, "together": together}
    return MixedLoader(loaders, schedule, workers, first_step, heads=(4, 2, 3), **sizes)


def test_samples_of_a_task_stand_together():
    batch = next(mixed_loader([2, 0, 2].__getitem__))
    assert batch["task"].tolist() == [0, 2, 2]
    assert batch["data"][:, 0].tolist() == [0, 2, 2]
    assert batch["keys"] == ["case of 0", "case of 2", "case of 2"]
    assert batch["valid"].tolist() == [[True] * 4, [True, True, True, False], [True, True, True, False]]
    of_0, of_0_below, of_2, of_2_below = batch["target"]
    assert of_0.shape == of_0_below.shape == (1, 4)
    assert of_2.shape == of_2_below.shape == (2, 4)
    assert of_0_below[0, 0] == 10
    assert of_2_below[:, 0].tolist() == [12, 12]


def test_without_deep_supervision_there_is_a_target_for_each_task():
    batch = next(mixed_loader([1, 0, 1].__getitem__, scales=1))
    assert [target.shape for target in batch["target"]] == [(1, 4), (2, 4)]


def test_as_many_samples_are_forced_to_foreground_as_in_a_stock_batch():
    # of 3 samples at 0.33 the stock rule forces the last; here it is the last drawn, wherever its task puts it
    assert next(mixed_loader([2, 1, 0].__getitem__))["data"][:, 1].tolist() == [1, 0, 0]
    assert next(mixed_loader([0, 1, 2].__getitem__))["data"][:, 1].tolist() == [0, 0, 1]


@pytest.mark.parametrize(("samples", "forced"), [(2, 1), (3, 1), (4, 1), (5, 2), (12, 4)])
def test_the_number_of_forced_samples_is_rounded_as_stock_rounds(samples, forced):
    """Not forced are round(samples x 0.67): 1.34, 2.01, 2.68, 3.35 and 8.04."""
    loaders = [Loader(0, scales=1)]
    sizes = {"batch_size": samples, "before": 0, "together": samples}
    batch = next(MixedLoader(loaders, lambda _: 0, 1, 0, heads=(2,), **sizes))
    assert batch["data"][:, 1].sum() == forced


def test_seeded_batches_depend_on_their_step_alone():
    class Draws(Loader):
        def __next__(self) -> dict[str, Any]:
            return super().__next__() | {"data": torch.rand(1, 2)}

    def loader(first_step: int, workers: int = 1) -> MixedLoader:
        seeds = BatchSeeds(3, rank=0, purpose=Purpose.TRAINING, steps=4)
        sizes = {"batch_size": 3, "before": 0, "together": 3}
        draws = [Draws(task, scales=1) for task in range(2)]
        return MixedLoader(draws, lambda sample: sample % 2, workers, first_step, seeds, heads=(2, 3), **sizes)

    whole = loader(0)
    batches = torch.stack([next(whole)["data"] for _ in range(6)])
    assert len(batches.unique()) == batches.numel()
    assert torch.equal(next(loader(5))["data"], batches[5])
    assert torch.equal(next(loader(2, workers=3))["data"], batches[2])


def test_the_order_does_not_depend_on_the_number_of_workers():
    schedule = TaskSchedule([1, 2, 1], 12, seed=3)
    alone = mixed_loader(schedule, first_step=4)
    expected = [next(alone)["task"].tolist() for _ in range(8)]
    assert expected[0] == sorted(schedule(sample) for sample in (12, 13, 14))
    for worker in range(2):
        copy = mixed_loader(schedule, workers=2, first_step=4)
        copy.set_thread_id(worker)
        assert [next(copy)["task"].tolist() for _ in range(4)] == expected[worker::2]


def test_ranks_share_a_step_of_the_schedule():
    schedule = TaskSchedule([1, 2, 1], 15, seed=3)
    ranks = [mixed_loader(schedule, first_step=2, before=before, together=5) for before in (0, 2)]
    for step in (2, 3):
        first = 5 * step
        for rank, before in zip(ranks, (0, 2), strict=True):
            drawn = range(first + before, first + before + 3)  # these two overlap by a sample: sizes are the caller's
            assert next(rank)["task"].tolist() == sorted(map(schedule, drawn))


# loss


def valid(tasks: list[int]) -> np.ndarray:
    return (np.arange(4) < np.array([4, 2, 3])[:, None])[tasks]


def test_the_loss_is_the_mean_over_samples_of_their_own_tasks_loss():
    losses = [nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)]
    torch.manual_seed(0)
    logits = torch.randn(4, 4, 3, 2, requires_grad=True)
    regions, labels = torch.rand(1, 2, 3, 2), torch.randint(0, 3, (3, 3, 2))
    mixed = MixedLoss(losses)
    step = MixedStep([regions, labels], np.array([1, 2, 2, 2]), valid([1, 2, 2, 2]))
    loss = mixed(logits, step)
    each = [losses[1](logits[:1, :2], regions)]
    each += [losses[2](logits[i : i + 1, :3], labels[i - 1 : i]) for i in (1, 2, 3)]
    assert_close(loss, sum(each) / 4)
    assert step.by_task == pytest.approx({1: each[0].item(), 2: sum(each[1:]).item() / 3})
    loss.backward()
    outside = ~torch.from_numpy(valid([1, 2, 2, 2]))
    assert (logits.grad[outside] == 0).all()
    assert (logits.grad[~outside] != 0).all()


def test_scales_go_to_each_tasks_loss():
    losses = [DeepSupervisionWrapper(nn.CrossEntropyLoss(), weights) for weights in ((0.75, 0.25), (0.5, 0.5), (1, 0))]
    scales = [torch.randn(2, 4, size) for size in (4, 2)]
    targets = [[torch.randint(0, 2, (1, size)) for size in (4, 2)] for _ in range(2)]
    mixed = MixedLoss(losses)
    first = losses[0]([scale[:1] for scale in scales], targets[0])
    second = losses[1]([scale[1:, :2] for scale in scales], targets[1])
    step = MixedStep([*targets[0], *targets[1]], np.array([0, 1]), valid([0, 1]))
    assert_close(mixed(scales, step), (first + second) / 2)


# training


def trainer(root: Path, kind: type[MultiTaskTrainer], **knobs: Any) -> MultiTaskTrainer:
    folder = root / "preprocessed" / NAME
    plans, description = (json.loads((folder / f"{name}.json").read_text()) for name in (PLANS, "dataset"))
    plans["nnunet_ext"] |= knobs
    return kind(plans | {"continue_training": False}, "3d_fullres", 0, description, torch.device("cpu"))


@pytest.mark.parametrize("kind", [DoDNetTrainer, TransDoDNetTrainer, UniSegTrainer, MultiHeadTrainer])
def test_a_training(one_channel, kind):
    run = trainer(one_channel, kind)
    run.run_training()
    history = run.task_logger.my_fantastic_logging
    assert all(math.isfinite(history[f"loss of {task}"][0]) for task in TASKS)
    assert len(history["dice_per_class_or_region"][0]) == sum(heads - 1 for heads in HEADS)
    run.perform_actual_validation()
    assert set(json.loads((Path(run.output_folder) / "validation" / "tasks.json").read_text())) == set(TASKS)


def test_a_step_is_the_mean_of_its_samples_stock_losses(one_channel):
    run = trainer(one_channel, DoDNetTrainer)
    run.initialize()
    run.dataloader_train, run.dataloader_val = run.get_dataloaders()
    run.on_train_epoch_start()
    run.network.eval()
    mixtures = []
    for _ in range(run.num_iterations_per_epoch):
        batch = next(run.dataloader_train)
        tasks = batch["task"].tolist()
        mixtures.append(tasks)
        scales = len(batch["target"]) // len(set(tasks))
        expected = []
        with torch.no_grad():
            for task in sorted(set(tasks)):
                place = sorted(set(tasks)).index(task)
                target = batch["target"][place * scales : (place + 1) * scales]
                for number, row in enumerate(np.flatnonzero(batch["task"] == task)):
                    with run.on_task(task):
                        logits = run.network(batch["data"][row : row + 1])
                        assert logits[0].shape[1] == HEADS[task]
                        expected.append(run.loss(logits, [scale[number : number + 1] for scale in target]).item())
        output = run.train_step(batch)
        if 1 not in tasks or tasks.count(1) == 1:  # lung's ignored voxels weigh the samples of its cross-entropy
            assert output["loss"] == pytest.approx(np.mean(expected), abs=1e-5)
        assert [task for task, _ in output["by_task"]] == sorted(set(tasks))
        lowest = f"pre_heads.{len(run.network.pre_heads) - 1}."
        for name, parameter in run.network.named_parameters():
            if not name.startswith(lowest):  # nnU-Net's loss gives the lowest scale weight 0
                assert parameter.grad is not None, name
    assert any(len(set(tasks)) == 2 for tasks in mixtures)
    counts = [sum(tasks.count(task) for tasks in mixtures) for task in range(3)]
    assert sum(counts) == 20
    assert min(counts) >= 6  # a third of 20 each
    assert isinstance(next(run.dataloader_val)["task"], int)
    assert next(run.dataloader_val)["data"].shape[0] == run.batch_size


def test_batch_dice_is_refused(one_channel):
    file = one_channel / "preprocessed" / "Dataset905_Kidney" / f"{PLANS}_{NAME}.json"
    plans = json.loads(file.read_text())
    plans["configurations"]["3d_fullres"]["batch_dice"] = True
    file.write_text(json.dumps(plans))
    with pytest.raises(UserError, match=r"expects batch_dice false .* found true for kidney \(Dataset905_Kidney\)"):
        trainer(one_channel, UniSegTrainer)
    assert not list((one_channel / "results").iterdir())


def test_images_of_different_channels_are_refused(collection):
    message = r"mixed_batches expects tasks with the same number of channels, found organs 1, lesion 2,"
    with pytest.raises(UserError, match=message):
        trainer(collection, DoDNetTrainer, multi_dataset={"mixed_batches": True})
    assert not list((collection / "results").iterdir())
