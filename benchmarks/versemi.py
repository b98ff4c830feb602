"""VerSemi against DoDNet on real scans with few labels, with equal time.

    python benchmarks/versemi.py --raw ../shared/data --work FOLDER
    python benchmarks/versemi.py --raw ../shared/data --work ANOTHER_FOLDER --tasks hippocampus atrium

A collection of three tasks: anterior hippocampus, posterior hippocampus and left atrium (at 2.5 mm). Of each, 8 cases
are labelled and the others unlabelled. Both structures of the hippocampus lie in every patch, and no labelled case has
both labels: what one task calls foreground, the other's cases call background. With --tasks hippocampus atrium, both
structures are one label, and no image has structures of two tasks. A fifth of the hippocampus cases and the last 16
atria of the list are set apart and scored, each task on all of its own, with the last checkpoint. The seed draws the
labelled cases, weights and batches. Every arm gets the computing time of --steps steps of DoDNet, by the CPU
seconds of its steps and batches, in the warm-up and after it, timed in turn; "DoDNet, steps of full" has as many steps
as "full". Nothing is chosen on the scored cases. Finished runs are not repeated; at the end, a table of mean Dice (of
each task's cases, then of tasks) and of the worst case.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HIPPOCAMPUS, ATRIUM = "Dataset004_Hippocampus", "Dataset020_LeftAtrium"
TASKS = {  # dataset and its labels
    "anterior": (HIPPOCAMPUS, (1,)),
    "posterior": (HIPPOCAMPUS, (2,)),
    "atrium": (ATRIUM, (1,)),
    "hippocampus": (HIPPOCAMPUS, (1, 2)),
}
LABELLED, EPOCHS, PLANS, TIMED_STEPS = 8, 10, "CollectionLitePlans", 15
TERMS = ("synthetic", "specific", "consistency", "box")
ARMS = {
    "DoDNet": "multi_dataset.mixed_batches=true",
    "DoDNet, steps of full": "multi_dataset.mixed_batches=true",
    "CutMix alone": "versemi.consistency_weight=0 versemi.box_weight=0",
    "full": "",
    "full, a tenth of the weights": " ".join(f"versemi.{term}_weight=0.1" for term in TERMS),
    "full without the mask": "versemi.other_task_threshold=null",
    "faithful": "versemi.other_task_threshold=null versemi.detach=false versemi.ema_decay=null versemi.ramp=0",
}
SAME_COST = {"DoDNet, steps of full": "full", "full, a tenth of the weights": "full"}


def trainer_of(arm: str) -> str:
    """Name the trainer of an arm."""
    return "DoDNetTrainer" if arm.startswith("DoDNet") else "VerSemiTrainer"


def run(line: str) -> None:
    """Run a command; its output goes to the log of this benchmark."""
    print(f"$ {line}", flush=True)
    subprocess.run(shlex.split(line), check=True)


def dataset_of(task: str, seed: int) -> str:
    """Name the member of a task."""
    return f"Dataset{500 + 10 * seed + 1 + list(TASKS).index(task)}_{task.capitalize()}{seed}"


def collection_of(seed: int) -> str:
    """Name the collection of a seed."""
    return f"Dataset{500 + 10 * seed}_Few{seed}"


def cases_of(raw: Path, source: str) -> list[str]:
    """Return the names of all cases, those that may be scored last."""
    listed = raw / source / "labelled_first.txt"
    names = sorted(file.name.removesuffix(".nii.gz") for file in (raw / source / "labelsTr").glob("*.nii.gz"))
    if listed.is_file():
        return listed.read_text().split()
    return [*(name for number, name in enumerate(names) if number % 5), *names[::5]]


def draw(raw: Path, task: str, seed: int, cases: int | None) -> tuple[list[str], list[str], list[str]]:
    """Return labelled, unlabelled and scored cases of a task."""
    source, labels = TASKS[task]
    names = cases_of(raw, source)
    apart = -(-len(names) // 5)  # rounded up
    pool, scored = names[:-apart], names[-apart:]
    if task in ("anterior", "posterior"):  # no image has both labels
        pool = pool[labels[0] - 1 :: 2]
    order = [pool[number] for number in np.random.default_rng(seed).permutation(len(pool))]
    few = min(LABELLED, len(pool) // 2)
    return sorted(order[:few]), sorted(order[few:])[:cases], scored[:cases]


def write_member(work: Path, raw: Path, task: str, seed: int, cases: int | None) -> None:
    """Write a member: its images by reference, and its labels as one."""
    import nibabel

    source, labels = TASKS[task]
    labelled, unlabelled, scored = draw(raw, task, seed, cases)
    place, images = work / "raw" / dataset_of(task, seed), raw / source / "imagesTr"
    (place / "labelsTr").mkdir(parents=True, exist_ok=True)
    entries = {}
    for case in (*labelled, *scored):
        there = nibabel.load(raw / source / "labelsTr" / f"{case}.nii.gz")
        ours = np.isin(there.dataobj, labels).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(ours, there.affine), place / "labelsTr" / f"{case}.nii.gz")
        entries[case] = {"images": [str(images / f"{case}_0000.nii.gz")], "label": f"labelsTr/{case}.nii.gz"}
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, task: 1},
        "numTraining": len(entries),
        "file_ending": ".nii.gz",
        "dataset": entries,
        "unlabelled": {case: {"images": [str(images / f"{case}_0000.nii.gz")]} for case in unlabelled},
    }
    (place / "dataset.json").write_text(json.dumps(description))
    folder = work / "preprocessed" / place.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "splits_final.json").write_text(json.dumps([{"train": labelled, "val": scored}]))


def prepare(work: Path, raw: Path, names: Sequence[str], seed: int, cases: int | None) -> None:
    """Set nnU-Net's folders; write the collection of a seed, plan and preprocess it, unless that is done.

    Args:
        work: The folder of all runs.
        raw: The folder of the real datasets.
        names: Of the tasks.
        seed: Draws the labelled cases.
        cases: Unlabelled and scored ones of a task, at most.
    """
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
        (work / name).mkdir(parents=True, exist_ok=True)
    os.environ |= {"nnUNet_n_proc_DA": "0"}  # batches are made by this process: their time counts
    name = collection_of(seed)
    prepared = work / f"{name}.prepared"
    if prepared.exists():
        if (before := prepared.read_text()) != " ".join(names):
            raise SystemExit(
                f"--tasks: expected {before}, as before in {work}, got {' '.join(names)}. Use another --work."
            )
        return
    tasks: dict[str, dict[str, Any]] = {}
    for task in names:
        write_member(work, raw, task, seed, cases)
        tasks[task] = {"dataset": dataset_of(task, seed)}
        if task == "atrium":
            tasks[task]["spacing"] = [2.5, 2.5, 2.5]
    (work / "raw" / name).mkdir(exist_ok=True)
    (work / "raw" / name / "dataset.json").write_text(json.dumps({"tasks": tasks}))
    knobs = f"num_epochs={EPOCHS} num_val_iterations_per_epoch=3 optimizer=AdamW initial_lr=3e-3 seed={seed}"
    knobs += " multi_dataset.view_weights=links"
    run(f"nnunet_ext plan_and_preprocess -d {500 + 10 * seed} -pl CollectionLitePlanner --set {knobs}")
    prepared.write_text(" ".join(names))


def time_steps(work: Path, arms: list[str], seed: int) -> dict[str, float]:
    """Return CPU seconds of a step and its batch relative to DoDNet: medians of both stages, one thread, in turn."""
    import torch

    from nnunet_ext import sockets

    timed = sorted({"DoDNet", "full", *(SAME_COST.get(arm, arm) for arm in arms)})
    file = work / "steps.json"
    found: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    if set(timed) <= set(found):
        return found
    torch.set_num_threads(1)
    trainers: dict[str, Any] = {}
    for arm in timed:
        name = f"Time_{arm.replace(', ', '_').replace(' ', '_')}"
        knobs = f"{ARMS[arm]} num_epochs=2 num_iterations_per_epoch={TIMED_STEPS}"
        run(f"nnunet_ext variant -d {500 + 10 * seed} -p {PLANS} --as {name} --set {knobs}")
        folder = work / "preprocessed" / collection_of(seed)
        plans = json.loads((folder / f"{name}.json").read_text()) | {"continue_training": False}
        description = json.loads((folder / "dataset.json").read_text())
        kind: Any = sockets.load("trainers", trainer_of(arm))
        trainer = trainers[arm] = kind(plans, "3d_fullres", 0, description, torch.device("cpu"))
        trainer.initialize()
        trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
        trainer.on_train_epoch_start()
    seconds: dict[str, list[list[float]]] = {arm: [[], []] for arm in timed}
    for number in range(2 * TIMED_STEPS):
        for arm, trainer in trainers.items():
            start = time.process_time()
            trainer.train_step(next(trainer.dataloader_train))
            if number % TIMED_STEPS:  # not the first of a stage
                seconds[arm][number // TIMED_STEPS].append(time.process_time() - start)
    of_step = {arm: statistics.mean(map(statistics.median, stages)) for arm, stages in seconds.items()}
    print("CPU seconds of a step:", of_step, flush=True)
    ratios = {arm: value / of_step["DoDNet"] for arm, value in of_step.items()}
    file.write_text(json.dumps(ratios))
    return ratios


def train_arm(work: Path, arm: str, names: Sequence[str], seed: int, steps: int) -> dict[str, dict[str, float]]:
    """Train one arm, unless that is done; return the Dice of each scored case by task.

    Args:
        work: The folder of all runs.
        arm: Its name.
        names: Of the tasks.
        seed: Of labelled cases, weights and batches.
        steps: Of an epoch.
    """
    name, trainer, number = f"{arm.replace(', ', '_').replace(' ', '_')}", trainer_of(arm), 500 + 10 * seed
    if not (work / "preprocessed" / collection_of(seed) / f"{name}.json").exists():
        run(f"nnunet_ext variant -d {number} -p {PLANS} --as {name} --set {ARMS[arm]} num_iterations_per_epoch={steps}")
    summaries = {
        task: work / "results" / dataset_of(task, seed) / f"{trainer}__{name}_{collection_of(seed)}__3d_fullres"
        / "fold_0" / "validation" / "summary.json" for task in names
    }  # fmt: skip
    if not all(file.exists() for file in summaries.values()):
        model = work / "results" / collection_of(seed) / f"{trainer}__{name}__3d_fullres" / "fold_0"
        more = "--c" if (model / "checkpoint_latest.pth").exists() else ""
        run(f"nnunet_ext train {number} 3d_fullres 0 -tr {trainer} -p {name} -device cpu {more}")
    found = {}
    for task, file in summaries.items():
        per_case = json.loads(file.read_text())["metric_per_case"]
        found[task] = {Path(case["prediction_file"]).name: float(case["metrics"]["1"]["Dice"]) for case in per_case}
    return found


def main() -> None:
    """Train everything that is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2500, help="of the arm DoDNet")
    parser.add_argument("--cases", type=int, help="unlabelled and scored cases of a task, at most [all]")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS)[:3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=ARMS, default=list(ARMS))
    arguments = parser.parse_args()
    work, raw, tasks = arguments.work.resolve(), arguments.raw.resolve(), arguments.tasks
    for seed in arguments.seeds:
        prepare(work, raw, tasks, seed, arguments.cases)
    ratios = time_steps(work, arguments.only, arguments.seeds[0])
    scores: dict[str, list[dict[str, dict[str, float]]]] = {arm: [] for arm in arguments.only}
    counts = {}
    for seed in arguments.seeds:
        for arm in arguments.only:
            ratio = ratios[SAME_COST.get(arm, arm)]
            counts[arm] = max(1, round(arguments.steps / ratio / EPOCHS)) * EPOCHS
            scores[arm].append(train_arm(work, arm, tasks, seed, counts[arm] // EPOCHS))
            means = {task: round(statistics.mean(dice.values()), 4) for task, dice in scores[arm][-1].items()}
            print(f"{arm}, seed {seed}: {means}", flush=True)
    print(
        f"\n| arm | steps | {' | '.join(tasks)} | mean, seeds {', '.join(map(str, arguments.seeds))} | mean | worst |"
    )
    print("|---|---:" + (len(tasks) + 3) * "|---:" + "|")
    for arm, of_seeds in scores.items():
        of_tasks = [statistics.mean(statistics.mean(found[task].values()) for found in of_seeds) for task in tasks]
        each = [statistics.mean(statistics.mean(dice.values()) for dice in found.values()) for found in of_seeds]
        worst = min(min(dice.values()) for found in of_seeds for dice in found.values())
        cells = [f"{value:.4f}" for value in of_tasks] + [", ".join(f"{value:.4f}" for value in each)]
        print(f"| {arm} | {counts[arm]} | {' | '.join(cells)} | {statistics.mean(each):.4f} | {worst:.4f} |")


if __name__ == "__main__":
    main()
