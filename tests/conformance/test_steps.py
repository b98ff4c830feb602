"""DDP, torch.compile and autocast, which stock nnU-Net has on GPUs only."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import children
import pytest
import torch
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from report import Cell
from stock import (
    COLLECTION_TRAINERS,
    PLANS,
    cheapest,
    default_dtype,
    initialized,
    loss_of,
    mixes,
    on_batch,
    prepare_for,
    read_checkpoint,
    read_plans,
    source_named,
    validation_batch,
    variant,
    write_plans,
)
from torch._dynamo.testing import CompileCounterWithBackend

from nnunet_ext.errors import UserError

pytestmark = pytest.mark.slow
STEP = "steps"
SPLIT = (
    "expected two ranks with half of the batch each to train as one process with all of it, found a difference. A mean "
    "over some voxels only has another denominator on each rank: take it for each sample, then over samples."
)


def check_gradients(network: torch.nn.Module) -> None:
    """Trained parameters' gradients are finite; the one head whose deep-supervision weight is 0 may have none."""
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    without = [name for name, parameter in trained.items() if parameter.grad is None]
    assert len({name.rpartition(".")[0] for name in without}) <= 2, without
    for name, parameter in network.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@pytest.mark.row("two DDP ranks (gloo): gradients of one process, joined batch; {labels}, {configuration}", level=STEP)
@pytest.mark.parametrize(
    ("labels", "configuration", "batch_dice"),
    [("plain", "2d", True), ("plain", "3d_fullres", False), ("regions", "2d", True)],
)
def test_ddp(
    trainer: str,
    labels: str,
    configuration: str,
    batch_dice: bool,
    tmp_path: Path,
    refuses: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if trainer in ("BCPTrainer", "VerSemiTrainer"):  # paste pairs; tests of theirs have two on each rank
        with refuses(UserError, match="expects a batch of at least 2 on each GPU, got 1"):
            on_two_ranks(trainer, labels, configuration, PLANS, monkeypatch).initialize()
        return
    assert read_plans(trainer, labels)["configurations"][configuration]["batch_dice"] is batch_dice
    once = {"lefed": {"passes": 1}, "domain_randomisation": {"p": 0}}  # rounding grows; ranks draw different numbers
    plans = variant(trainer, labels, "LiteOnePass", **once)
    joined, batch = initialized(trainer, labels, configuration, plans, dtype=torch.float64)
    start, out = tmp_path / "start.pth", tmp_path / "out"
    given = {name: batch[name] for name in ("data", "target", "task", "unlabelled", "buffer", "step") if name in batch}
    given |= {"keys": [str(key) for key in batch["keys"]]} if "keys" in batch else {}
    torch.save({"weights": joined.network.state_dict(), "batch": given}, start)
    with default_dtype(torch.float64):
        loss = float(joined.train_step(batch)["loss"])

    words = [str(prepare_for(trainer, labels)), configuration, trainer, plans]
    with source_named(trainer, labels, configuration, plans):
        ranks = [
            children.start(children.ddp_steps, rank, str(tmp_path / "store"), words, str(start), str(out))
            for rank in (0, 1)
        ]
        for rank in ranks:
            rank.join(120)
            assert rank.exitcode == 0

    found = [torch.load(f"{out}.{rank}") for rank in (0, 1)]
    assert sum(rank["loss"] for rank in found) / 2 == pytest.approx(loss, rel=1e-3), SPLIT
    trained = {name: parameter for name, parameter in joined.network.named_parameters() if parameter.requires_grad}
    for name, parameter in trained.items():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for rank in found:
            torch.testing.assert_close(rank["gradients"][name], expected, rtol=1e-3, atol=1e-5, msg=f"{name}: {SPLIT}")
    checkpoint = read_checkpoint(Path(f"{out}.pth"))
    assert checkpoint["network_weights"].keys() == joined.network.state_dict().keys()
    assert len(checkpoint["logging"]["train_losses"]) == 1


@pytest.mark.row("DDP with a batch that two ranks cannot share", level=STEP, pretraining=True)
def test_uneven_ddp(trainer: str, refuses: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration, batch = cheapest(trainer), 1 if trainer in COLLECTION_TRAINERS else 3  # batch Dice in 2d only
    plans = read_plans(trainer, "plain")
    plans["configurations"][configuration]["batch_size"] = batch
    name = write_plans(trainer, "plain", plans, "LiteUneven")
    uneven = on_two_ranks(trainer, "plain", configuration, name, monkeypatch)
    with refuses(UserError, match=f"-num_gpus 2: expected .* the plans' batch size {batch}"):
        uneven.initialize()


def on_two_ranks(
    trainer: str, data: str, configuration: str, plans: str, monkeypatch: pytest.MonkeyPatch
) -> nnUNetTrainer:
    """Return a trainer that takes itself for one of two."""
    number = str(prepare_for(trainer, data))
    ready = get_trainer_from_args(number, configuration, 0, trainer, plans, False, torch.device("cpu"))
    ready.is_ddp = True
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    return ready


@pytest.mark.row(
    "torch.compile without graph breaks (aot_eager), 2d", level=STEP, configuration="2d", of_each_kind=True
)
def test_compile_2d(trainer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_compiled(trainer, "aot_eager", "2d", tmp_path, monkeypatch)


@pytest.mark.row("torch.compile without graph breaks (aot_eager), 3d_fullres", level=STEP)
def test_compile(trainer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: Cell) -> None:
    if trainer in COLLECTION_TRAINERS:
        cell.note("but one at the end, where logits are cut to the task's heads")
    check_compiled(trainer, "aot_eager", "3d_fullres", tmp_path, monkeypatch)


@pytest.mark.row("torch.compile to machine code (inductor), 3d_fullres", level=STEP, expensive=True)
def test_compile_inductor(trainer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_compiled(trainer, "inductor", "3d_fullres", tmp_path, monkeypatch)


def check_compiled(
    trainer: str, backend: str, configuration: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiled trainer steps as the plain one does, validates, predicts, and writes names that anyone can load."""
    plain, batch = initialized(trainer, "plain", configuration)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend(backend)
    whole = trainer not in COLLECTION_TRAINERS
    with monkeypatch.context() as patch:
        patch.setattr(nnUNetTrainer, "_do_i_compile", lambda _: True)
        patch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter, fullgraph=whole))
        compiled, _ = initialized(trainer, "plain", configuration)
        compiled.network._orig_mod.load_state_dict(plain.network.state_dict())
        losses = [float(one.train_step(batch)["loss"]) for one in (plain, compiled)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-3)
        check_gradients(compiled.network._orig_mod)
        if trainer in COLLECTION_TRAINERS and not mixes(compiled):
            graphs = counter.frame_count
            with on_batch(compiled, {"task": 0}):
                compiled.network(batch["data"])
            assert counter.frame_count == graphs  # the same for all tasks
        compiled.network.eval()
        with torch.no_grad():
            assert torch.isfinite(torch.as_tensor(compiled.validation_step(validation_batch(compiled, batch))["loss"]))
            compiled.set_deep_supervision_enabled(False)
            assert compiled.network(batch["data"]).shape[0] == len(batch["data"])
        compiled.save_checkpoint(str(tmp_path / "checkpoint.pth"))
    plain.load_checkpoint(str(tmp_path / "checkpoint.pth"))
    for name, tensor in compiled.network._orig_mod.state_dict().items():
        assert torch.equal(plain.network.state_dict()[name], tensor), name


@pytest.mark.row("autocast to {dtype}, {configuration}", level=STEP, pretraining=True)
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_autocast(trainer: str, dtype: str, configuration: str) -> None:
    ready, batch = initialized(trainer, "plain", configuration)
    with torch.autocast("cpu", dtype=getattr(torch, dtype)), on_batch(ready, batch):
        loss = loss_of(ready, batch)
    (loss * 1024).backward()  # as a gradient scaler does
    assert loss.isfinite()
    check_gradients(ready.network)
    ready.network.eval()
    ready.set_deep_supervision_enabled(False)
    with torch.no_grad(), torch.autocast("cpu", dtype=getattr(torch, dtype)):
        logits = ready.network(batch["data"])
    assert logits.dtype == getattr(torch, dtype)
    assert logits.isfinite().all()
