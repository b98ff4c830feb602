"""One pass for K tasks against K stock predictions of their views: time, encoder calls, labels; in one process.

    python benchmarks/predict_tasks.py --tasks 5 --features 8 --patch 40 56 40 --image 48 90 72

The model has random weights. Both sides read, resample (2 mm to 2.5 mm), predict with mirroring, and write all label
maps, in turn; the ratio of times is the median over pairs. nnU-Net's start (imports, look-up of the trainer, reading
the checkpoint), which K commands pay K times, is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from training_step import make_plans, timed

from nnunet_ext import sockets
from nnunet_ext.collection.prediction.task_views import view_folder, write_views
from nnunet_ext.collection.prediction.tasks_predictor import TasksPredictor
from nnunet_ext.collection.prediction.viewed_task import ViewedTask
from nnunet_ext.collection.task_table import Task, TaskTable, member_plans_name
from nnunet_ext.data.raw_dataset import list_images
from nnunet_ext.phantoms.dataset import write_nifti

COLLECTION, PLANS, CONFIGURATION = "Dataset900_Benchmark", "BenchmarkPlans", "3d_fullres"
HEADS = (3, 2, 4)  # heads of the tasks, in turn
IMAGE_SPACING, TARGET_SPACING = (2.0, 2.0, 2.0), [2.5, 2.5, 2.5]


def full_plans(patch: list[int], features: int, table: TaskTable) -> dict[str, Any]:
    """Return plans of the collection with all that preprocessing and prediction read."""
    plans = make_plans(patch, features, convolutions=2, batch=2)
    resampling = "resample_data_or_seg_to_shape"
    plans["configurations"][CONFIGURATION] |= {
        "preprocessor_name": "DefaultPreprocessor",
        "spacing": TARGET_SPACING,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
    }
    for name, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        options = {"is_seg": name == "seg", "order": order, "order_z": 0, "force_separate_z": None}
        plans["configurations"][CONFIGURATION] |= {
            f"resampling_fn_{name}": resampling,
            f"resampling_fn_{name}_kwargs": options,
        }
    return plans | {
        "dataset_name": COLLECTION,
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": {}},
        "collection": table.as_json(),
    }


def write_model(root: Path, trainer: str, plans: dict[str, Any], table: TaskTable) -> Path:
    """Write a model with random weights and its views; return the model's folder."""
    for task in table.tasks:
        folder = root / "preprocessed" / task.dataset
        folder.mkdir(parents=True)
        member = plans | {
            "dataset_name": task.dataset,
            "plans_name": member_plans_name(PLANS, COLLECTION),
            "collection": table.bound_to(task.name).as_json(),
        }
        labels = {"background": 0, **{f"class{index}": index for index in range(1, task.heads)}}
        description = {"channel_names": {"0": "MR"}, "labels": labels, "file_ending": ".nii.gz", "numTraining": 9}
        (folder / f"{member['plans_name']}.json").write_text(json.dumps(member))
        (folder / "dataset.json").write_text(json.dumps(description))
        (folder / "dataset_fingerprint.json").write_text("{}")
    manager = PlansManager(plans)
    build = sockets.load("trainers", trainer).build_network_architecture  # type: ignore[attr-defined]
    network = build(manager, manager.get_configuration(CONFIGURATION), 1, table.max_heads)
    model = root / "results" / COLLECTION / f"{trainer}__{PLANS}__{CONFIGURATION}"
    (model / "fold_0").mkdir(parents=True)
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": trainer,
        "init_args": {"plans": plans, "configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint, model / "fold_0" / "checkpoint_final.pth")
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(description))
    write_views(plans, trainer, CONFIGURATION, 0)
    return model


def started(model: Path, device: torch.device, calls: list[int]) -> nnUNetPredictor:
    """Return nnU-Net's predictor with a model; append to ``calls`` whenever its encoder runs."""
    with redirect_stdout(StringIO()):
        predictor = nnUNetPredictor(device=device, allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(model), (0,))
    predictor.network.encoder.register_forward_hook(lambda *_: calls.append(1))
    return predictor


def measure(work: Callable[[], object], calls: list[int], device: torch.device) -> tuple[float, int]:
    """Return the seconds and encoder runs of ``work``; what nnU-Net prints is dropped."""
    calls.clear()
    with redirect_stdout(StringIO()):
        seconds = timed(work, device)
    return seconds, len(calls)


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the arguments of a command line, by default this one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", default="UniSegTrainer")
    parser.add_argument("--tasks", type=int, default=5)
    parser.add_argument("--patch", nargs=3, type=int, default=[40, 56, 40])
    parser.add_argument("--image", nargs=3, type=int, default=[48, 90, 72])
    parser.add_argument("--features", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    return parser.parse_args(words)


def main() -> None:
    """Measure and print a table."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run(parsed(), device)


def run(arguments: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Measure in a scratch folder, print a table and return the ratios."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name in ("raw", "preprocessed", "results"):
            os.environ[f"nnUNet_{name}"] = str(root / name)
        sockets.open_door()
        return compare(root, arguments, device)


def compare(root: Path, arguments: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Compare in the folder ``root``."""
    tasks = tuple(
        Task(f"task{number}", f"Dataset{number:03d}_Task{number}", 1, HEADS[number % 3], 9)
        for number in range(1, arguments.tasks + 1)
    )
    table = TaskTable(COLLECTION, tasks)
    plans = full_plans(arguments.patch, arguments.features, table)
    model = write_model(root, arguments.trainer, plans, table)
    views = {
        task.name: view_folder(root / "results", task, COLLECTION, arguments.trainer, PLANS, CONFIGURATION)
        for task in tasks
    }
    viewed = [ViewedTask.read(table, name, view, CONFIGURATION) for name, view in views.items()]
    images = root / "images"
    images.mkdir()
    noise = np.random.default_rng(0).normal(size=arguments.image).astype(np.float32)
    write_nifti(images / "case_0000.nii.gz", noise, IMAGE_SPACING)

    counted: list[int] = []
    together = TasksPredictor(model, (0,), device=device.type)
    together.model.network.encoder.register_forward_hook(lambda *_: counted.append(1))
    alone = {name: started(view, device, counted) for name, view in views.items()}

    def one_by_one() -> None:
        for name, predictor in alone.items():
            (root / "stock" / name).mkdir(parents=True, exist_ok=True)
            predictor.predict_from_files_sequential(str(images), str(root / "stock" / name))

    def one_pass() -> None:
        failed = together.predict_tasks(list_images(images, ".nii.gz", 1), viewed, root / "one pass")
        assert not failed, failed

    sides: dict[str, Callable[[], object]] = {"stock": one_by_one, "one pass": one_pass}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    calls = {}
    for _ in range(arguments.pairs + 1):
        for name, work in sides.items():
            taken, calls[name] = measure(work, counted, device)
            seconds[name].append(taken)
    rows = {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first pair warms up
    print(f"\n{arguments.trainer}, {arguments.tasks} tasks, image {arguments.image}, {device}")
    print(f"| {'':<8} | median s | encoder runs |\n|{'-' * 10}|---------:|-------------:|")
    for name, median in rows.items():
        print(f"| {name:<8} | {median:8.2f} | {calls[name]:12d} |")
    ratio = statistics.median(a / b for a, b in zip(seconds["stock"][1:], seconds["one pass"][1:], strict=True))
    encoders, voxels = calls["stock"] / calls["one pass"], differing(root, views)
    print(
        f"time ratio {ratio:.2f} (median of {arguments.pairs} pairs), encoder ratio {encoders:.2f}, differing voxels "
        f"{voxels}"
    )
    return {"time_ratio": ratio, "encoder_ratio": encoders, "differing_voxels": voxels}


def differing(root: Path, views: dict[str, Path]) -> int:
    """Return the number of voxels that the two sides label differently."""
    found = 0
    for name in views:
        one, other = (nibabel.load(root / side / name / "case.nii.gz").dataobj for side in ("stock", "one pass"))
        found += int((np.asarray(one) != np.asarray(other)).sum())
    return found


if __name__ == "__main__":
    main()
