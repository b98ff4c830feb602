"""Measurements on a GPU, the most useful first, within a given time; each figure is written as soon as it is found.

    python benchmarks/gpu.py --minutes 9 --out gpu.jsonl --data ../shared/data

1. ``trainers``: time, peak memory and FLOPs of a step of every trainer against stock nnU-Net, at nnU-Net's default
   network (128^3, 32 features, batch 2). Trainers of collections: their network, of five tasks, in a stock step.
2. ``planners``: plans of every planner for 8 GB, on the fingerprint of a dataset of 100 cases with 256^3 voxels; their
   memory estimate (least: weights and what is kept for the backward pass; planned: with the workspace that nnU-Net
   reserves), and the peak of a training step with the method's trainer on these plans.
3. ``compile``: step time of stock nnU-Net, BA-Net and LeFeD with and without torch.compile.
4. ``predict_tasks``: one pass for five tasks against five stock predictions.
5. ``hippocampus``: BA-Net and stock nnU-Net at full width, for half of the remaining time each; mean foreground Dice of
   fold 0. Needs ``Dataset004_Hippocampus`` in the folder ``--data``.

Each line of the output is one JSON object: the step, the figure's name, values with their unit in the name, and
``produced_by``. Each step runs in its own process, which is stopped when its time is up; figures found by then are
kept. ``--device cpu --tiny`` runs everything in about a minute. The exit code is 1 if a step failed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # processes are forked: this one must not touch the GPU
os.environ["nnUNet_compile"] = "f"  # the step "compile" tries both
for _name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):  # each step sets its own
    os.environ[_name] = os.environ.get(_name, tempfile.gettempdir())

import predict_tasks as predict_tasks_benchmark  # noqa: E402
import torch  # noqa: E402
from fingerprints import write_collection, write_fingerprint  # noqa: E402
from flops import flops  # noqa: E402
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: E402
from training_step import LABELS, in_turn, make_batch, make_plans, make_trainer, peak_memory, seen_by  # noqa: E402

from nnunet_ext import sockets  # noqa: E402
from nnunet_ext.cli.main import main as nnunet_ext  # noqa: E402
from nnunet_ext.collection.task_table import Task, TaskTable  # noqa: E402
from nnunet_ext.collection.training.trainer import MultiTaskTrainer  # noqa: E402
from nnunet_ext.phantoms.dataset import write_phantom_dataset  # noqa: E402

CONTROL = "NNUNetBaselineTrainer"
OVER = "stopped: its time was up"
TASKS = 5
BUDGET_GB = 8
MEMBERS = ["Dataset002_Member", "Dataset003_Member", "Dataset004_Member"]
PLANNED = {  # planner: trainer
    "ExperimentPlanner": CONTROL,
    "LeFeDPlanner": "LeFeDTrainer",
    "MCNetPlusPlanner": "MCNetPlusTrainer",
    "BANetPlanner": "BANetTrainer",
    "SemiSupervisedPlanner": "MeanTeacherTrainer",
    "CoTrPlanner": "CoTrTrainer",
    "UniSegPlanner": "UniSegTrainer",
    "DoDNetPlanner": "DoDNetTrainer",
    "TransDoDNetPlanner": "TransDoDNetTrainer",
}


@dataclass
class Run:
    """Settings of a step, and where its figures go.

    Args:
        out: File of JSON lines.
        device: Where to measure.
        tiny: Small networks and few steps.
        data: Folder of datasets, or None.
        step: Name of the step.
        end: Deadline, in seconds of ``time.monotonic``.
    """

    out: Path
    device: torch.device
    tiny: bool
    data: Path | None
    step: str
    end: float

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.end - time.monotonic()

    def write(self, figure: str, **values: Any) -> None:
        """Append a line and sync it to disk."""
        line = json.dumps({"step": self.step, "figure": figure, **values})
        with self.out.open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        print(line, flush=True)

    def plans(self) -> dict[str, Any]:
        """Return plans of nnU-Net's default network."""
        return make_plans([16] * 3, 4, 1, 2) if self.tiny else make_plans([128] * 3, 32, 2, 2)


@contextlib.contextmanager
def folders() -> Iterator[Path]:
    """Give nnU-Net empty folders below a new one, which is returned."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            folder = Path(scratch, name)
            folder.mkdir()
            os.environ[name] = str(folder)  # nnU-Net reads it whenever it needs it
        data = Path(scratch, "nnUNet_preprocessed", "Dataset001_Benchmark", "data")
        data.mkdir(parents=True)
        (data / "case.b2nd").touch()
        yield Path(scratch)


def step_of(name: str, plans: dict[str, Any], batch: dict[str, Any], device: torch.device) -> Callable[[], object]:
    """Return a training step of a trainer; of a collection's trainer, a stock step of its network."""
    kind = sockets.load("trainers", name)
    if not issubclass(kind, MultiTaskTrainer):
        trainer = make_trainer(name, plans, device)
        return partial(trainer.train_step, seen_by(trainer, batch))
    table = TaskTable("Dataset900_Benchmark", tuple(Task(f"task{n}", MEMBERS[0], 1, LABELS, 9) for n in range(TASKS)))
    trainer = make_trainer(CONTROL, plans, device)
    of_collection = PlansManager({"collection": table.as_json()} | deepcopy(plans))
    configuration = of_collection.get_configuration("3d_fullres")
    network: Any = kind.build_network_architecture(of_collection, configuration, 1, LABELS, True).to(device).train()
    network.set_task(0)
    trainer.network = network
    trainer.knobs = trainer.knobs | dict(kind.recipe)
    trainer.initial_lr, trainer.weight_decay = trainer.knobs["initial_lr"], trainer.knobs["weight_decay"]
    trainer.optimizer, trainer.lr_scheduler = trainer.configure_optimizers()
    trainer.set_deep_supervision_enabled(True)
    return partial(trainer.train_step, batch)


def on_device(plans: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return a batch that is already on the device, so that copying it takes no time."""
    batch = make_batch(plans)
    images = {name: batch[name].to(device) for name in ("data", "unlabelled")}
    target = [scale.to(device) for scale in batch["target"]]
    return batch | images | {"target": target, "pseudo_target": target}


def peak_gib(step: Callable[[], object], device: torch.device, before: int = 0) -> float:
    """Return the peak GiB of tensors in a step, beyond ``before`` bytes that belong to others."""
    if device.type != "cuda":
        return peak_memory(step) / 1024
    torch.cuda.reset_peak_memory_stats()
    step()
    return (torch.cuda.max_memory_allocated() - before) / 2**30


def held(device: torch.device) -> int:
    """Return the bytes of tensors on the GPU."""
    return torch.cuda.memory_allocated() if device.type == "cuda" else 0


def trainers(run: Run) -> None:
    """Time, peak memory and FLOPs of every trainer's step against stock nnU-Net's."""
    plans, rounds = run.plans(), 1 if run.tiny else 7
    batch = on_device(plans, run.device)
    with folders():
        control = step_of(CONTROL, plans, batch, run.device)
        stock = {"gflop": flops(control) / 1e9, "peak_gib": peak_gib(control, run.device)}
        for name in [CONTROL, *(name for name in sockets.names("trainers") if name != CONTROL)]:
            if run.left < 0:
                return
            before = held(run.device)
            step = control if name == CONTROL else step_of(name, plans, batch, run.device)
            found = {"gflop": flops(step) / 1e9}
            step()
            found["peak_gib"] = peak_gib(step, run.device, 0 if name == CONTROL else before)
            seconds = in_turn({"stock": control, "method": step}, rounds, run.device)
            ratios = [b / a for a, b in zip(seconds["stock"], seconds["method"], strict=True)]
            run.write(
                name,
                seconds=statistics.median(seconds["method"]),
                **found,
                time_ratio=statistics.median(ratios),
                flop_ratio=found["gflop"] / stock["gflop"],
                memory_ratio=found["peak_gib"] / stock["peak_gib"],
                produced_by=f"{rounds} rounds of train_step, stock and {name} in turn, order alternating",
            )
            del step


def planners(run: Run) -> None:
    """What planners estimate for 8 GB, and what a step of the method then needs."""
    shape = (24, 24, 24) if run.tiny else (256, 256, 256)
    chosen = ("ExperimentPlanner", "LeFeDPlanner", "UniSegPlanner") if run.tiny else tuple(PLANNED)
    with folders() as root:
        for dataset in ("Dataset001_Benchmark", *MEMBERS):
            write_fingerprint(root, dataset, shape, LABELS)
        write_collection(root, "Dataset900_Benchmark", MEMBERS)
        for planner_name in chosen:
            if run.left < 0:
                return
            trainer_name = PLANNED[planner_name]
            kind = sockets.load("trainers", trainer_name)
            planner = stock_planner() if planner_name == "ExperimentPlanner" else sockets.load("planners", planner_name)
            dataset = "Dataset900_Benchmark" if issubclass(kind, MultiTaskTrainer) else "Dataset001_Benchmark"
            with contextlib.redirect_stdout(io.StringIO()):
                made = planner(dataset, gpu_memory_target_in_gb=BUDGET_GB)  # type: ignore[call-arg]
                plans = made.plan_experiment()
            planned = plans["configurations"]["3d_fullres"]
            size = {
                "patch": [int(n) for n in planned["patch_size"]],
                "batch": 1 if run.tiny else int(planned["batch_size"]),
            }
            plans = json.loads(json.dumps(with_size(run.plans(), planned, size), default=int))
            batch = on_device(plans, run.device)
            before = held(run.device)
            step = step_of(trainer_name, plans, batch, run.device)
            step()
            peak = peak_gib(step, run.device, before)
            free = torch.cuda.mem_get_info(run.device)[0] if run.device.type == "cuda" else sys.maxsize
            estimate = step.func.__self__.needed_gpu_memory(free)  # type: ignore[attr-defined]
            reserved = torch.cuda.max_memory_reserved() / 2**30 if run.device.type == "cuda" else None
            run.write(
                planner_name,
                **size,
                budget_gb=BUDGET_GB,
                least_gib=estimate.at_least / 2**30,
                planned_gib=estimate.planned / 2**30,
                peak_gib=peak,
                reserved_gib=reserved,
                produced_by=f"{planner_name} on 100 cases of {shape}, then train_step of {trainer_name}",
            )
            del step, batch
            if run.device.type == "cuda":
                torch.cuda.empty_cache()


def stock_planner() -> Any:
    """Return nnU-Net's own."""
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    return ExperimentPlanner


def with_size(plans: dict[str, Any], planned: dict[str, Any], size: dict[str, Any]) -> dict[str, Any]:
    """Return the benchmark's plans with a planner's network, patch and batch."""
    plans["configurations"]["3d_fullres"] |= {
        "architecture": planned["architecture"],
        "patch_size": size["patch"],
        "batch_size": size["batch"],
    }
    return plans


def compiled(run: Run) -> None:
    """Step time with and without torch.compile."""
    if run.device.type != "cuda":
        run.write("torch.compile", skipped="stock nnU-Net compiles on CUDA only")
        return
    plans = run.plans()
    batch = on_device(plans, run.device)
    with folders():
        for name in (CONTROL, "BANetTrainer", "LeFeDTrainer"):
            if run.left < 0:
                return
            seconds = {}
            for switch in ("f", "t"):
                os.environ["nnUNet_compile"] = switch
                step = step_of(name, plans, batch, run.device)
                start = time.perf_counter()
                for _ in range(3):
                    step()
                torch.cuda.synchronize()
                seconds[switch] = statistics.median(in_turn({"": step}, 7, run.device)[""])
                warm_up = time.perf_counter() - start
                del step
            run.write(
                name,
                eager_seconds=seconds["f"],
                compiled_seconds=seconds["t"],
                warm_up_seconds=warm_up,
                produced_by="median of 7 train_steps after 3, nnUNet_compile=f and =t",
            )


def predict_tasks(run: Run) -> None:
    """One pass for several tasks against as many stock predictions."""
    words = "--tasks 5 --features 32 --patch 96 96 96 --image 160 200 160 --pairs 2"
    if run.tiny:
        words = "--tasks 2 --features 4 --patch 16 16 16 --image 24 30 26 --pairs 1"
    with contextlib.redirect_stdout(io.StringIO()):
        found = predict_tasks_benchmark.run(predict_tasks_benchmark.parsed(words.split()), run.device)
    run.write("UniSegTrainer", **found, produced_by=f"benchmarks/predict_tasks.py {words}")


def hippocampus(run: Run) -> None:
    """BA-Net and stock nnU-Net at full width, for the remaining time."""
    name = "Dataset004_Hippocampus"
    if not run.tiny and (run.data is None or not (run.data / name).is_dir()):
        run.write("hippocampus", skipped=f"{run.data}: expected the folder {name}; give --data")
        return
    with folders() as root:
        raw = root / "nnUNet_raw"
        if run.tiny:
            write_phantom_dataset(raw, name, cases=5, shape=(8, 24, 20))
        else:
            assert run.data is not None
            (raw / name).symlink_to((run.data / name).resolve())
        planner, plans, steps = ("LitePlanner", "LitePlans", 2) if run.tiny else ("BANetPlanner", "BANetPlans", 50)
        settings = [f"num_iterations_per_epoch={steps}", "num_val_iterations_per_epoch=1", "seed=0", "save_every=1000"]
        common = ["-d", "4", "-pl", planner, "-c", "3d_fullres", "-np", "1" if run.tiny else "8", "-npfp", "1"]
        command("plan_and_preprocess", *common, "--set", "num_epochs=1", *settings)
        patch = json.loads((root / "nnUNet_preprocessed" / name / f"{plans}.json").read_text())
        size = patch["configurations"]["3d_fullres"]
        seconds = {}
        for trainer in ("BANetTrainer", CONTROL):
            of_size = with_size(run.plans(), size, {"patch": size["patch_size"], "batch": size["batch_size"]})
            step = step_of(trainer, of_size, on_device(of_size, run.device), run.device)
            step()
            seconds[trainer] = statistics.median(in_turn({"": step}, 3, run.device)[""])
            del step
        for trainer, share in (("BANetTrainer", 2), (CONTROL, 1)):
            if run.left < 30 and not run.tiny:
                return
            spent = max(seconds[trainer], 0.05) * steps * 1.2
            epochs = 1 if run.tiny else max(2, int((run.left / share - 25) / spent))
            command("variant", "-d", "4", "-p", plans, "--as", f"{trainer}Plans", "--set", f"num_epochs={epochs}")
            arguments = ["4", "3d_fullres", "0", "-tr", trainer, "-p", f"{trainer}Plans", "-device", run.device.type]
            start = time.perf_counter()
            command("train", *arguments)
            model = root / "nnUNet_results" / name / f"{trainer}__{trainer}Plans__3d_fullres" / "fold_0"
            scores = json.loads((model / "validation" / "summary.json").read_text())
            run.write(
                trainer,
                mean_dice=scores["foreground_mean"]["Dice"],
                optimizer_steps=epochs * steps,
                seconds=time.perf_counter() - start,
                produced_by=f"{planner}, {' '.join(settings)}, num_epochs={epochs}, fold 0, validation included",
            )


def command(*words: str) -> None:
    """Run a command of nnunet_ext, quietly.

    Raises:
        RuntimeError: It failed.
    """
    with contextlib.redirect_stdout(io.StringIO()) as text:
        code = nnunet_ext(list(words))
    if code:
        raise RuntimeError(f"nnunet_ext {' '.join(words)}: exit code {code}\n{text.getvalue()[-2000:]}")


STEPS: dict[str, tuple[Callable[[Run], None], float]] = {  # at most this share of the whole time
    "trainers": (trainers, 0.3),
    "planners": (planners, 0.3),
    "compile": (compiled, 0.25),
    "predict_tasks": (predict_tasks, 0.15),
    "hippocampus": (hippocampus, 1.0),
}


def bounded(step: str, run: Run) -> str | None:
    """Run a step in its own process; return why it ended early, or None."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=STEPS[step][0], args=(run,))
    process.start()
    process.join(max(1.0, run.left))
    if process.is_alive():
        process.terminate()
        process.join(5)
        process.kill()
        return OVER
    if process.exitcode == 0 and run.left < 0:  # it stopped by itself
        return OVER
    return None if process.exitcode == 0 else f"failed with exit code {process.exitcode}"


def main() -> int:
    """Run all steps; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    arguments = parser.parse_args()
    arguments.out.unlink(missing_ok=True)
    end, device, failed = time.monotonic() + 60 * arguments.minutes, torch.device(arguments.device), False
    sockets.open_door()
    for name in arguments.steps:
        most = time.monotonic() + STEPS[name][1] * 60 * arguments.minutes
        run = Run(arguments.out.resolve(), device, arguments.tiny, arguments.data, name, min(end, most))
        start = time.monotonic()
        problem = bounded(name, run) if run.left > 0 else "skipped: no time is left"
        run.write("step", took_seconds=round(time.monotonic() - start, 1), problem=problem)
        failed = failed or (problem or "").startswith("failed")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
