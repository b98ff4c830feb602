"""Interrupted, continued and validated again."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import children
import numpy as np
import pytest
import torch
from children import load
from stock import (
    cheapest,
    check_trained,
    legal_labels,
    log_of,
    model_folder,
    prepare_for,
    read_checkpoint,
    run_folder,
    source_named,
    train,
    trained,
    variant,
)

from nnunet_ext.errors import UserError

pytestmark = pytest.mark.slow
EPOCHS = 4


@pytest.fixture
def plans(trainer: str, request: pytest.FixtureRequest) -> str:
    """Plans of four epochs under a name of their own, so that each test has a folder of its own."""
    name = "Lite" + request.node.originalname.removeprefix("test_").title().replace("_", "")
    return variant(trainer, "plain", name, num_epochs=EPOCHS)


def killed(target: Callable[..., None], *arguments: object, trainer: str, plans: str) -> Path:
    """Start a training that gets killed, throw its log away and return its fold."""
    words = [str(prepare_for(trainer, "plain")), "3d_fullres", "0", "-tr", trainer, "-p", plans, "-device", "cpu"]
    with source_named(trainer, "plain", "3d_fullres", plans):
        child = children.start(target, *arguments, words)
        child.join(120)
    assert child.exitcode == -signal.SIGKILL
    fold = run_folder(trainer, "plain", "3d_fullres", plans) / "fold_0"
    for log in fold.glob("training_log_*.txt"):
        log.unlink()
    return fold


def epochs_in_log(fold: Path) -> list[int]:
    """Return the epochs that the logs in the fold tell of."""
    return [int(epoch) for epoch in re.findall(r"Epoch (\d+)\b", log_of(fold))]


def initial_lr(trainer: str) -> float:
    """Return the learning rate of plans that name no optimizer."""
    return load(trainer).recipe.get("initial_lr", 1e-2)


@pytest.mark.row("killed between two epochs, then --c", of_each_kind=True)
def test_killed_between_epochs(trainer: str, plans: str) -> None:
    fold = killed(children.die_between_epochs, 2, trainer=trainer, plans=plans)
    before = read_checkpoint(fold / "checkpoint_latest.pth")["logging"]
    check_trained(train(trainer, "plain", "3d_fullres", 0, "--c", plans=plans), epochs=EPOCHS)
    assert epochs_in_log(fold) == [2, 3]
    after = read_checkpoint(fold / "checkpoint_final.pth")["logging"]
    for key, values in before.items():
        np.testing.assert_array_equal(after[key][: len(values)], values, key)
    parts = {"PseudoLabelTrainer": (2, 2), "SelfTrainingTrainer": (2, 1, 1)}.get(trainer, (EPOCHS,))
    lrs = [initial_lr(trainer) * (1 - epoch / length) ** 0.9 for length in parts for epoch in range(length)]
    assert after["lrs"] == pytest.approx(lrs)


@pytest.mark.row("killed between two epochs, then --c: losses and weights of an uninterrupted run", of_each_kind=True)
def test_repeats_an_uninterrupted_run(trainer: str, plans: str) -> None:
    """To the rounding that two processes may differ by, which the steps of an epoch, with LeFeD three for each batch,
    let grow; other batches would differ a hundred times more. Within one process it is exact:
    tests/semi_supervised/test_resume.py and tests/collection/training/test_trainer.py.
    """
    killed(children.die_between_epochs, 2, trainer=trainer, plans=plans)
    whole = variant(trainer, "plain", f"{plans}Whole", num_epochs=EPOCHS)
    found, expected = (
        read_checkpoint(train(trainer, "plain", "3d_fullres", 0, *flags, plans=of) / "checkpoint_final.pth")
        for flags, of in ((("--c",), plans), ((), whole))
    )
    for key in ("train_losses", "val_losses"):
        assert found["logging"][key] == pytest.approx(expected["logging"][key], rel=2e-3)
    for name, tensor in expected["network_weights"].items():
        torch.testing.assert_close(found["network_weights"][name], tensor, rtol=1e-2, atol=1e-2, msg=name)


@pytest.mark.row("killed while {checkpoint} is written, then --c", of_each_kind=True)
@pytest.mark.parametrize(
    ("checkpoint", "epoch", "done"),
    [("checkpoint_latest", 2, 2), ("checkpoint_best", 0, 1), ("checkpoint_final", 3, 3)],
)
def test_killed_while_saving(trainer: str, plans: str, checkpoint: str, epoch: int, done: int) -> None:
    """The older files stay whole, so at most the epoch whose checkpoint was being written is lost."""
    for place in (run_folder, model_folder):
        shutil.rmtree(place(trainer, "plain", "3d_fullres", plans), ignore_errors=True)
    fold = killed(children.die_while_saving, checkpoint, epoch, trainer=trainer, plans=plans)
    newest = max(read_checkpoint(file)["current_epoch"] for file in fold.glob("*.pth"))
    assert newest >= done
    check_trained(train(trainer, "plain", "3d_fullres", 0, "--c", plans=plans), epochs=EPOCHS)
    assert epochs_in_log(fold) == list(range(newest, EPOCHS))
    assert not list(fold.glob("*.partial"))


@pytest.mark.row("checkpoint_latest truncated, then --c: the next older one, and a report", of_each_kind=True)
def test_truncated_latest(trainer: str, plans: str) -> None:
    fold = killed(children.die_between_epochs, 2, trainer=trainer, plans=plans)
    latest = fold / "checkpoint_latest.pth"
    assert read_checkpoint(fold / "checkpoint_best.pth")["current_epoch"] in (1, 2)
    latest.write_bytes(latest.read_bytes()[: latest.stat().st_size // 2])
    check_trained(train(trainer, "plain", "3d_fullres", 0, "--c", plans=plans), epochs=EPOCHS)
    assert f"WARNING: {latest}: expected an intact checkpoint" in log_of(fold)
    assert epochs_in_log(fold)[0] in (1, 2)


@pytest.mark.row("--c with a broken checkpoint only", pretraining=True)
def test_nothing_whole(trainer: str, plans: str, refuses: Any) -> None:
    prepare_for(trainer, "plain")
    fold = run_folder(trainer, "plain", "3d_fullres", plans) / "fold_0"
    fold.mkdir(parents=True)
    (fold / "checkpoint_latest.pth").write_bytes(b"half a file")
    with refuses(UserError, match="expected an intact checkpoint to continue from, found only broken ones"):
        train(trainer, "plain", "3d_fullres", 0, "--c", plans=plans)


@pytest.mark.row("--c on a finished run: validates again, trains nothing")
def test_continue_finished(trainer: str) -> None:
    fold = trained(trainer, "plain", "3d_fullres")
    before = read_checkpoint(fold / "checkpoint_final.pth")
    shutil.rmtree(fold / "validation")
    train(trainer, "plain", "3d_fullres", 0, "--c", "--npz")
    after = read_checkpoint(fold / "checkpoint_final.pth")
    check_trained(fold)
    for name, tensor in before["network_weights"].items():
        assert (after["network_weights"][name] == tensor).all(), name


@pytest.mark.row("--c with changed knobs", pretraining=True)
def test_changed_knobs(trainer: str, refuses: Any) -> None:
    name = variant(trainer, "plain", "LiteChanged")
    fold = train(trainer, "plain", cheapest(trainer), plans=name)
    before = (fold / "checkpoint_final.pth").read_bytes()
    variant(trainer, "plain", name, initial_lr=0.5)
    with refuses(UserError, match=re.escape(f"initial_lr: {initial_lr(trainer)} -> 0.5")):
        train(trainer, "plain", cheapest(trainer), 0, "--c", plans=name)
    assert (fold / "checkpoint_final.pth").read_bytes() == before


@pytest.mark.row("--c and --val with another trainer's checkpoint", pretraining=True)
def test_another_trainers_checkpoint(trainer: str, refuses: Any) -> None:
    fold = trained(trainer, "plain", cheapest(trainer))
    checkpoint = read_checkpoint(fold / "checkpoint_final.pth") | {"trainer_name": "nnUNetTrainer"}
    name = variant(trainer, "plain", "LiteForeign")
    foreign = run_folder(trainer, "plain", cheapest(trainer), name) / "fold_0"
    foreign.mkdir(parents=True)
    torch.save(checkpoint, foreign / "checkpoint_final.pth")
    for flag in ("--c", "--val"):
        with refuses(UserError, match=f"expected a checkpoint of {trainer}, found one of nnUNetTrainer"):
            train(trainer, "plain", cheapest(trainer), 0, flag, plans=name)


@pytest.mark.row("{flags}: the weights of that very checkpoint", of_each_kind=True)
@pytest.mark.parametrize("flags", ["--val", "--val --val_best", "--c --val_best"])
def test_validation(trainer: str, flags: str) -> None:
    name = variant(trainer, "plain", "LiteValidated")
    fold = trained(trainer, "plain", "3d_fullres", plans=name)
    best_file = run_folder(trainer, "plain", "3d_fullres", name) / "fold_0" / "checkpoint_best.pth"
    best = read_checkpoint(best_file)
    silent = {name: torch.zeros_like(tensor) for name, tensor in best["network_weights"].items()}
    torch.save(best | {"network_weights": silent}, best_file)
    weights = read_checkpoint(fold / "checkpoint_final.pth")["network_weights"]
    shutil.rmtree(fold / "validation")
    train(trainer, "plain", "3d_fullres", 0, *flags.split(), "--npz", plans=name)
    check_trained(fold)
    after = read_checkpoint(fold / "checkpoint_final.pth")["network_weights"]
    assert all(torch.equal(after[name], weights[name]) for name in weights)
    probabilities = [np.load(file)["probabilities"] for file in (fold / "validation").glob("*.npz")]
    undecided = all(np.ptp(each, axis=0).max() < 1e-6 for each in probabilities)
    assert undecided == ("--val_best" in flags)  # zero weights: all classes are equally likely
    torch.save(best, best_file)


@pytest.mark.row("--npz, {labels}: probabilities of the validation cases")
@pytest.mark.parametrize("labels", ["plain", "regions"])
def test_npz(trainer: str, labels: str) -> None:
    fold = trained(trainer, labels, "3d_fullres")
    heads = 3 if labels == "regions" else len(legal_labels(labels))
    files = sorted((fold / "validation").glob("*.npz"))
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    assert len(files) == len(summary["metric_per_case"])
    for file in files:
        probabilities = np.load(file)["probabilities"]
        assert len(probabilities) == heads
        assert probabilities.min() >= 0
        assert probabilities.max() <= 1 + 1e-3
        if labels == "plain":
            np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-2)


@pytest.mark.row("--disable_checkpointing", pretraining=True)
def test_disable_checkpointing(trainer: str) -> None:
    name = variant(trainer, "plain", "LiteNoCheckpoint")
    fold = train(trainer, "plain", cheapest(trainer), 0, "--disable_checkpointing", plans=name)
    run = run_folder(trainer, "plain", cheapest(trainer), name) / "fold_0"
    assert run.is_dir()
    assert not [*run.glob("*.pth*"), *fold.glob("*.pth*")]
    assert (fold / "validation" / "summary.json").is_file()
