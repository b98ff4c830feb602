"""Training steps of trainers against stock nnU-Net on the same plans: time, FLOPs, peak memory; paired in one process.

    python benchmarks/training_step.py --trainer BANetTrainer --features 32 --patch 40 56 40 --pairs 7

The trainers run whole ``train_step`` calls (forward, loss, backward, clipping, optimizer) on one random batch, in turn,
every second time in reverse order; semi-supervised ones also see as many unlabelled samples. Seconds are CPU seconds of
the process; on a GPU, wall-clock seconds between synchronizations. The ratio of times is the median over pairs. FLOPs
are those of convolutions, matrix products and resampling. Sequential fine-tuning follows two models with random
weights; half of its batch is its buffer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flops import flops

from nnunet_ext import sockets
from nnunet_ext.methods.masked_autoencoder.trainer import MaskedAutoencoderTrainer
from nnunet_ext.methods.raters.trainer import RatersTrainer
from nnunet_ext.methods.sequential_fine_tuning.trainer import SequentialFineTuningTrainer

LABELS = 3
RATERS, CASE = ("A", "B"), "case"
LATE = 1_000_000  # in the training: after every ramp and warm-up
DATASET = {
    "labels": {"background": 0, **{f"class{index}": index for index in range(1, LABELS)}},
    "channel_names": {"0": "CT"},
    "file_ending": ".nii.gz",
}


def make_plans(patch: list[int], features: int, convolutions: int, batch: int) -> dict[str, Any]:
    """Return plans of a plain 3d U-Net that halves the patch while 4 voxels or more are left on each axis."""
    stages = 1
    while all(length % 2**stages == 0 and length // 2**stages >= 4 for length in patch) and stages < 6:
        stages += 1
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [min(320, features * 2**stage) for stage in range(stages)],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * stages,
            "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
            "n_conv_per_stage": [convolutions] * stages,
            "n_conv_per_stage_decoder": [convolutions] * (stages - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    configuration = {
        "data_identifier": "data",
        "batch_size": batch,
        "patch_size": patch,
        "batch_dice": False,
        "spacing": [1, 1, 1],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": architecture,
    }
    return {
        "dataset_name": "Dataset001_Benchmark",
        "plans_name": "BenchmarkPlans",
        "label_manager": "LabelManager",
        "configurations": {"3d_fullres": configuration},
    }


def make_batch(plans: dict[str, Any]) -> dict[str, Any]:
    """Return one batch as loaders give it, with blocks of label as organs are, and unlabelled images."""
    configuration = plans["configurations"]["3d_fullres"]
    batch, patch = configuration["batch_size"], configuration["patch_size"]
    coarse = torch.randint(0, LABELS, (batch, 1, *(max(1, length // 8) for length in patch))).float()
    target = torch.nn.functional.interpolate(coarse, size=patch).to(torch.int16)
    scales = [target]
    for d, h, w in configuration["architecture"]["arch_kwargs"]["strides"][1:-1]:
        scales.append(scales[-1][..., ::d, ::h, ::w].contiguous())
    images = {name: torch.randn(batch, 1, *patch) for name in ("data", "unlabelled")}
    return images | {"target": scales, "pseudo_target": scales, "step": LATE}


@contextmanager
def scratch_folders() -> Iterator[None]:
    """Give nnU-Net empty folders of its own; the benchmarks read no data."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[name] = f"{scratch}/{name}"
        data = Path(scratch, "nnUNet_preprocessed", "Dataset001_Benchmark", "data")
        data.mkdir(parents=True)
        (data / "case.b2nd").touch()
        yield


class TwoRatersTrainer(RatersTrainer):
    """The trainer, with a case that two raters annotated; there are no maps on disk."""

    def _find_raters(self) -> Path:
        self._raters, self._rated = RATERS, {CASE: RATERS}
        return Path(self.preprocessed_dataset_folder_base)


def make_trainer(name: str, plans: dict[str, Any], device: torch.device) -> Any:
    """Return an initialized trainer in train mode."""
    kind = TwoRatersTrainer if name == "RatersTrainer" else sockets.load("trainers", name)
    trainer = kind(plans | {"continue_training": False}, "3d_fullres", 0, DATASET, device)
    trainer.initialize()
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    trainer.network.train()
    if isinstance(trainer, SequentialFineTuningTrainer):
        follow_itself(trainer)
    return trainer


def follow_itself(trainer: SequentialFineTuningTrainer) -> None:
    """Let the trainer follow two models with the weights that it starts from."""
    with tempfile.TemporaryDirectory() as scratch:
        model = f"{scratch}/checkpoint.pth"
        trainer.save_checkpoint(model)
        own = trainer.knobs[trainer.method] | {"task_model": model}
        trainer.knobs = trainer.knobs | {"init_from": model, trainer.method: own}
        trainer.teachers()  # read while the file is there


def seen_by(trainer: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """Return the batch as the trainer's loaders give it."""
    if not trainer.enable_deep_supervision or isinstance(trainer, MaskedAutoencoderTrainer):
        batch = batch | {"target": batch["target"][0]}
    if isinstance(trainer, RatersTrainer):
        maps = [torch.cat([scale] * (1 + len(RATERS)), dim=1) for scale in batch["target"]]  # own label first
        batch = batch | {"target": maps, "keys": [CASE] * len(batch["data"])}
    if isinstance(trainer, SequentialFineTuningTrainer):
        half = max(1, len(batch["data"]) // 2)
        batch = batch | {"data": batch["data"][:half], "buffer": batch["data"][-half:]}
    return batch


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that ``work`` takes: CPU seconds of this process, or on a GPU those until it is done."""
    if device.type != "cuda":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turn(steps: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of each step in each round; every second round goes through the steps in reverse order."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name in list(steps) if number % 2 == 0 else reversed(list(steps)):
            seconds[name].append(timed(steps[name], device))
    return seconds


def peak_memory(work: Callable[[], object]) -> float:
    """Return the most MiB of tensors that ``work`` holds at once, beyond what was held before, on any device."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        work()
    events = (event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]")
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return float(held.max()) / 2**20


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", nargs="+", default=["BANetTrainer"])
    parser.add_argument("--patch", nargs=3, type=int, default=[40, 56, 40])
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--convolutions", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=7)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    plans = make_plans(arguments.patch, arguments.features, arguments.convolutions, arguments.batch)
    batch = make_batch(plans)
    with scratch_folders():
        trainers = {name: make_trainer(name, plans, device) for name in ("NNUNetBaselineTrainer", *arguments.trainer)}
        report(trainers, batch, arguments.pairs, device)


def report(trainers: dict[str, Any], batch: dict[str, Any], pairs: int, device: torch.device) -> None:
    """Print the table and the ratios."""
    steps, counted, memory = {}, {}, {}
    for name, trainer in trainers.items():
        steps[name] = partial(trainer.train_step, seen_by(trainer, batch))
    for name, step in steps.items():
        counted[name] = flops(step)
        step()
        memory[name] = peak_memory(step)
    seconds = in_turn(steps, pairs, device)
    print(f"\n| {'trainer':<24} | median s | GFLOP | peak MiB |\n|{'-' * 26}|---------:|------:|---------:|")
    for name in trainers:
        median = statistics.median(seconds[name])
        print(f"| {name:<24} | {median:8.4f} | {counted[name] / 1e9:5.1f} | {memory[name]:8.0f} |")
    control, *methods = trainers
    for method in methods:
        ratios = [b / a for a, b in zip(seconds[control], seconds[method], strict=True)]
        time_ratio, flop_ratio = statistics.median(ratios), counted[method] / counted[control]
        print(
            f"{method}: time ratio {time_ratio:.3f} (median of {pairs} pairs), FLOP ratio {flop_ratio:.3f}, "
            f"time / FLOP ratio {time_ratio / flop_ratio:.3f}, memory ratio {memory[method] / memory[control]:.3f}"
        )


if __name__ == "__main__":
    main()
