"""Sliding windows of DoDNet for seven tasks against one task, on one volume: network time, paired in one process.

    python benchmarks/predict_dodnet.py --features 32 --patch 40 56 40 --image 60 84 60 --pairs 5

All tasks share spacing and normalization, hence one pass. This measures nnU-Net's own sliding-window prediction, with
mirroring, from a preprocessed volume to logits; reading, resampling and export are left out. Random weights. On a CPU
the processor time of this process is measured, which other programs hardly affect; set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from types import SimpleNamespace

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor
from training_step import DATASET, make_plans, timed

from nnunet_ext import sockets
from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.collection.task_table import Task, TaskTable

CONFIGURATION = "3d_fullres"
HEADS = (3, 2, 4)  # heads of the tasks, in turn


def make_predictor(
    trainer: str, tasks: int, patch: list[int], features: int, convolutions: int, mirrored: bool, device: torch.device
) -> tuple[nnUNetPredictor, TaskNetwork]:
    """Return a predictor and its network for a collection of ``tasks`` tasks."""
    table = TaskTable(
        "Dataset900_Benchmark",
        tuple(Task(f"task{number}", f"Dataset{number:03d}_Task", 1, HEADS[number % 3], 9) for number in range(tasks)),
    )
    plans = make_plans(patch, features, convolutions, batch=2) | {"collection": table.as_json()}
    manager = PlansManager(plans)
    configuration = manager.get_configuration(CONFIGURATION)
    build = sockets.load("trainers", trainer).build_network_architecture  # type: ignore[attr-defined]
    network = build(manager, configuration, 1, table.max_heads, False).to(device).eval()
    predictor = nnUNetPredictor(use_mirroring=mirrored, device=device, allow_tqdm=False)
    predictor.manual_initialization(network, manager, configuration, None, DATASET, trainer, (0, 1, 2))
    return predictor, network


def predict(predictor: nnUNetPredictor, network: TaskNetwork, volume: Tensor, tasks: tuple[int, ...]) -> Tensor:
    """Return the logits of ``tasks``."""
    network.set_task(*tasks)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=sum(network.heads[task] for task in tasks))
    with redirect_stdout(StringIO()):
        return predictor.predict_sliding_window_return_logits(volume)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long ``work`` takes, in processor time on a CPU."""
    if device.type == "cuda":
        return timed(work, device)
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", default="DoDNetTrainer")
    parser.add_argument("--tasks", type=int, default=7)
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--convolutions", type=int, default=2)
    parser.add_argument("--patch", nargs=3, type=int, default=[40, 56, 40])
    parser.add_argument("--image", nargs=3, type=int, default=[60, 84, 60])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--no_mirroring", action="store_true")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    predictor, network = make_predictor(
        arguments.trainer,
        arguments.tasks,
        arguments.patch,
        arguments.features,
        arguments.convolutions,
        not arguments.no_mirroring,
        device,
    )
    volume = torch.randn(1, *arguments.image)
    everything = tuple(range(arguments.tasks))
    together = predict(predictor, network, volume, everything)
    assert torch.equal(together[: HEADS[0]], predict(predictor, network, volume, (0,)))
    one, several = [], []
    for pair in range(arguments.pairs):
        task = (pair % len(everything),)
        one.append(seconds(lambda task=task: predict(predictor, network, volume, task), device))
        several.append(seconds(lambda: predict(predictor, network, volume, everything), device))
    ratio = statistics.median(many / single for single, many in zip(one, several, strict=True))
    print(
        f"{arguments.trainer}, {arguments.features} features, {arguments.convolutions} convolutions, {device}: 1 task "
        f"{statistics.median(one):.3f} s, {arguments.tasks} tasks {statistics.median(several):.3f} s, ratio "
        f"{ratio:.3f} (median of {arguments.pairs} pairs)"
    )


if __name__ == "__main__":
    main()
