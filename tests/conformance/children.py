"""What runs in child processes: runs that get killed, DDP ranks, pickled classes."""

from __future__ import annotations

import functools
import io
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quick import be_quick

from nnunet_ext import sockets
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.stock.lookup import ext_trainer

get_context = multiprocessing.get_context  # the real one: the fixtures put threads in its place
# ours, and those of another package, in a folder of nnUNet_extTrainer
TRAINERS = [*sockets.names("trainers"), *os.environ.get("NNUNET_EXT_CONFORMANCE", "").split()]


def load(name: str) -> type[ExtTrainer]:
    """Return a trainer's class."""
    found = ext_trainer(name)
    assert found is not None, (
        f"{name}: expected a trainer of a folder in nnUNet_extTrainer that derives from ExtTrainer"
    )
    return found


@functools.cache
def preloaded() -> list[str]:
    """What every child imports: nnU-Net and the trainers (and timm, which a network of its variants imports)."""
    return [
        "nnunetv2.run.run_training",
        "matplotlib.pyplot",
        "timm.layers",
        *(load(each).__module__ for each in TRAINERS),
    ]


def start(target: Callable[..., None], *arguments: object) -> multiprocessing.Process:
    """Start ``target`` in a child with this process's variables.

    Children are forked from a clean server that has imported nnU-Net once, before OpenMP started any thread.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(preloaded())
    child = context.Process(target=_with_variables, args=(dict(os.environ), target, *arguments))
    child.start()
    return child


def _with_variables(variables: dict[str, str], target: Callable[..., None], *arguments: object) -> None:
    os.environ.clear()
    os.environ.update(variables)
    torch.set_num_threads(1)
    be_quick(pytest.MonkeyPatch())
    target(*arguments)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_between_epochs(epoch: int, words: list[str]) -> None:
    """Train, and be killed when the given epoch starts."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    on_epoch_start = nnUNetTrainer.on_epoch_start

    def dies(trainer: nnUNetTrainer) -> None:
        if trainer.current_epoch == epoch:
            _die()
        on_epoch_start(trainer)

    nnUNetTrainer.on_epoch_start = dies
    _train(words)


def die_while_saving(name: str, epoch: int, words: list[str]) -> None:
    """Train, and be killed half-way through writing the checkpoint ``name`` of the given epoch."""
    save = torch.save

    def dies(checkpoint: dict[str, Any], file: str | Path | io.BytesIO) -> None:
        on_disk = isinstance(file, str | Path)  # a checkpoint with more in it is made in memory first
        if on_disk and Path(file).name.startswith(name) and checkpoint["current_epoch"] == epoch + 1:
            whole = io.BytesIO()
            save(checkpoint, whole)
            with open(file, "wb") as half:
                half.write(whole.getvalue()[: whole.tell() // 2])
            _die()
        save(checkpoint, file)

    torch.save = dies
    _train(words)


def _train(words: list[str]) -> None:
    from stock import stock

    stock("nnUNetv2_train", *words)


@functools.cache
def spawned() -> dict[str, type]:
    """Send every trainer class to a really spawned process and back; once a session."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    with get_context("spawn").Pool(1) as pool:
        found = pool.map(return_it, map(recursive_find_trainer_class_by_name, TRAINERS))
        return dict(zip(TRAINERS, found, strict=True))


def without_dropout(network: torch.nn.Module) -> None:
    """Switch dropout off, so that two steps from the same weights are equal."""
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d | torch.nn.Dropout3d):
            module.p = 0.0
        elif isinstance(module, torch.nn.MultiheadAttention):
            module.dropout = 0.0


def return_it(trainer: type) -> type:
    """Return a class, after checking that it is the one that its socket exports here."""
    assert trainer is load(trainer.__name__)
    return trainer


def ddp_steps(rank: int, store: str, words: list[str], given: str, out: str) -> None:
    """Run one rank of two: training steps on its half of a batch, a validation step, the gathering at the epoch's end.

    Stock code puts DDP trainers on GPUs; so this one is built before the process group, and wrapped without device.
    """
    from nnunetv2.run.run_training import get_trainer_from_args
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as stock_module
    from torch import distributed

    number, configuration, trainer_name, plans = words
    start = torch.load(given)
    torch.set_default_dtype(start["batch"]["data"].dtype)
    trainer = get_trainer_from_args(number, configuration, 0, trainer_name, plans, False, torch.device("cpu"))
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    trainer.is_ddp, trainer.local_rank = True, rank
    wrap = stock_module.DDP
    stock_module.DDP = lambda network, device_ids: wrap(network)
    trainer.initialize()
    trainer.bare_network.load_state_dict(start["weights"])
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    without_dropout(trainer.network)
    batch = start["batch"]
    half = batch | {
        **{name: batch[name].chunk(2)[rank] for name in ("data", "unlabelled", "buffer") if name in batch},
        "target": _half(batch["target"], rank),
        "keys": np.array_split(batch.get("keys", []), 2)[rank],
    }
    trainer.on_train_epoch_start()
    outputs = [trainer.train_step(half)]
    gradients = {name: parameter.grad for name, parameter in trainer.bare_network.named_parameters()}
    torch.save({"loss": float(outputs[0]["loss"]), "gradients": gradients}, f"{out}.{rank}")
    outputs.append(trainer.train_step(half))  # DDP notices a parameter without gradient at the next step
    trainer.on_train_epoch_end(outputs)
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        trainer.on_validation_epoch_end([trainer.validation_step(half)])
    trainer.save_checkpoint(f"{out}.pth")
    distributed.barrier()
    distributed.destroy_process_group()


def _half(target: torch.Tensor | list[torch.Tensor], rank: int) -> torch.Tensor | list[torch.Tensor]:
    return [scale.chunk(2)[rank] for scale in target] if isinstance(target, list) else target.chunk(2)[rank]
