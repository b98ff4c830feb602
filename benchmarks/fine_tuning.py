"""Strategies of fine-tuning against a training from scratch, on real scans, with equal time.

    python benchmarks/fine_tuning.py --raw ../shared/data --work FOLDER --source multi_head
    python benchmarks/fine_tuning.py --raw ../shared/data --work FOLDER --source uniseg

The source (MultiHeadTrainer, whose network is nnU-Net's with a head for each task, or UniSegTrainer) learns the left
atrium and the anterior hippocampus of 150 cases. It is fine-tuned to both labels of the hippocampus with a few of the
other 50 cases, the rest of which are scored: one fold for each number of labelled cases and seed; the seed also
draws weights and batches. Every arm gets the computing time of --steps steps of ``all``, by the CPU seconds of its
steps, timed in turn; validation is not counted. Nothing is chosen on the scored cases. Finished runs are not repeated;
at the end, a table of mean Dice (of each case and class, then over the seeds).
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

HIPPOCAMPUS, ATRIUM = "Dataset004_Hippocampus", "Dataset020_LeftAtrium"
COLLECTION, TARGET = "Dataset920_AtriumAndAnterior", "Dataset930_HippocampusFew"
SOURCES = {"multi_head": "MultiHeadTrainer", "uniseg": "UniSegTrainer"}
EPOCHS = 10
RATE = "optimizer=AdamW initial_lr=3e-3 warm_up=0.1"
TENTH = "optimizer=AdamW initial_lr=3e-4 warm_up=0.1"  # nnU-Net's recipe for pretrained networks lowers the rate so
NEW_FIRST = "fine_tune.pretrain_new=true fine_tune.pretrain_share=0.2"  # two epochs, without labels
ARMS = {
    "scratch": "optimizer=AdamW initial_lr=3e-3 warm_up=0",
    "all": f"fine_tune.strategy=all {RATE}",
    "head_first": f"fine_tune.strategy=head_first {RATE}",
    "frozen_encoder": f"fine_tune.strategy=frozen_encoder {RATE}",
    "layer_wise": f"fine_tune.strategy=layer_wise {RATE}",
    "lora": f"fine_tune.strategy=lora {RATE}",
    "all, a tenth of the rate": f"fine_tune.strategy=all {TENTH}",
    "lora, new first": f"fine_tune.strategy=lora {NEW_FIRST} {RATE}",
    "frozen_encoder, fresh decoder": f"fine_tune.strategy=frozen_encoder fine_tune.transfer=encoder {RATE}",
    "frozen_encoder, fresh decoder, new first": f"fine_tune.strategy=frozen_encoder fine_tune.transfer=encoder "
    f"{NEW_FIRST} {RATE}",
}
TIMED = ("all", "frozen_encoder", "lora")  # the others' steps are those of all, or of the one that they begin with
PLANS = "FineTunePlans"


def run(line: str) -> None:
    """Run a command; its output goes to the log of this benchmark."""
    print(f"$ {line}", flush=True)
    subprocess.run(shlex.split(line), check=True)


def prepare(work: Path, raw: Path) -> None:
    """Set nnU-Net's folders and link the data: the datasets, and one of the 50 cases that no source sees."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
        (work / name).mkdir(parents=True, exist_ok=True)
    for name in (HIPPOCAMPUS, ATRIUM):
        if not (work / "raw" / name).exists():
            (work / "raw" / name).symlink_to((raw / name).resolve())
    cases = sorted(file.name.removesuffix(".nii.gz") for file in (raw / HIPPOCAMPUS / "labelsTr").glob("*.nii.gz"))
    (work / "anterior.txt").write_text("".join(f"{case}\n" for n, case in enumerate(cases) if n % 4))
    few = work / "raw" / TARGET
    for case in cases[::4]:
        for name in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"):
            (few / name).parent.mkdir(parents=True, exist_ok=True)
            if not (few / name).exists():
                (few / name).symlink_to((raw / HIPPOCAMPUS / name).resolve())
    description = json.loads((raw / HIPPOCAMPUS / "dataset.json").read_text())
    (few / "dataset.json").write_text(json.dumps(description | {"numTraining": len(cases[::4])}))


def train_source(work: Path, source: str, steps: int) -> Path:
    """Collect, plan and train; return the model's folder for the task with the anterior label."""
    if not (work / "raw" / COLLECTION).exists():
        run(f"nnunet_ext collect -d 920 -n AtriumAndAnterior 20:name=atrium "
            f"4:labels=Anterior,cases={work / 'anterior.txt'},name=anterior")  # fmt: skip
    if not (work / "preprocessed" / COLLECTION / "CollectionLitePlans.json").exists():
        knobs = f"num_epochs={steps // 50} num_iterations_per_epoch=50 num_val_iterations_per_epoch=5 seed=0"
        knobs = f"{knobs} {ARMS['scratch']}"
        run(f"nnunet_ext plan_and_preprocess -d 920 -pl CollectionLitePlanner --set {knobs}")
    model = f"{SOURCES[source]}__CollectionLitePlans__3d_fullres"
    if not (work / "results" / COLLECTION / model / "fold_all" / "checkpoint_final.pth").exists():
        run(f"nnunet_ext train 920 3d_fullres all -tr {SOURCES[source]} -p CollectionLitePlans -device cpu")
    (view,) = (work / "results").glob(f"*_anterior/{SOURCES[source]}__*__3d_fullres")
    return view


def folds(cases: list[str], counts: Iterable[int], seeds: Iterable[int]) -> list[dict[str, list[str]]]:
    """Return for each count and seed the labelled cases, and the rest."""
    drawn = []
    for count in counts:
        for seed in seeds:
            order = [cases[number] for number in np.random.default_rng(seed).permutation(len(cases))]
            drawn.append({"train": sorted(order[:count]), "val": sorted(order[count:])})
    return drawn


def plan(work: Path, source: str, view: Path) -> None:
    """Plan the fine-tuning from a source."""
    if not (work / "preprocessed" / TARGET / f"{PLANS}_{source}.json").exists():
        run(f"nnunet_ext plan_finetune -d 930 --from {view} -p {PLANS}_{source}")


def plans_of(source: str, arm: str, seed: int) -> str:
    """Name the plans of an arm; training from scratch takes those that the first source gave."""
    return f"{source}_{arm.replace(', ', '_').replace(' ', '_')}_{seed}"


def time_steps(work: Path, source: str, pairs: int = 5) -> dict[str, float]:
    """Return CPU seconds of a step relative to one of ``all``: medians, the arms in turn, one thread."""
    file = work / f"steps_{source}.json"
    if file.exists():
        found: dict[str, float] = json.loads(file.read_text())
        return found
    import torch

    from nnunet_ext.methods.fine_tune.trainer import FineTuneTrainer

    torch.set_num_threads(1)
    trainers: dict[str, Any] = {}
    for arm in TIMED:
        name = f"{PLANS}_{source}_time_{arm}"
        run(f"nnunet_ext variant -d 930 -p {PLANS}_{source} --as {name} --set {ARMS[arm]}")
        plans = json.loads((work / "preprocessed" / TARGET / f"{name}.json").read_text()) | {"continue_training": False}
        description = json.loads((work / "preprocessed" / TARGET / "dataset.json").read_text())
        trainers[arm] = FineTuneTrainer(plans, "3d_fullres", 0, description, device=torch.device("cpu"))
        trainers[arm].initialize()
    patch = trainers["all"].configuration_manager.patch_size
    batch = trainers["all"].configuration_manager.batch_size
    data = torch.randn((batch, 1, *patch))
    labels = [torch.randint(0, 3, (batch, 1, *(round(size * s) for size, s in zip(patch, scale, strict=True)))).float()
              for scale in trainers["all"]._get_deep_supervision_scales()]  # fmt: skip
    seconds: dict[str, list[float]] = {arm: [] for arm in TIMED}
    for number in range(pairs + 1):
        for arm, trainer in trainers.items():
            trainer.network.train()
            start = time.process_time()
            trainer.train_step({"data": data, "target": labels})
            if number:
                seconds[arm].append(time.process_time() - start)
    medians = {arm: statistics.median(values) for arm, values in seconds.items()}
    print("CPU seconds of a step:", medians, flush=True)
    ratios = {arm: median / medians["all"] for arm, median in medians.items()}
    file.write_text(json.dumps(ratios))
    return ratios


def train_arm(work: Path, source: str, arm: str, fold: int, seed: int, steps: int) -> dict[str, float]:
    """Train one arm on a fold, unless that is done; return the mean Dice of each class over the scored cases."""
    name, trainer = plans_of(source, arm, seed), "FineTuneTrainer"
    knobs = f"{ARMS[arm]} seed={seed} num_epochs={EPOCHS} num_val_iterations_per_epoch=5 "
    knobs += f"num_iterations_per_epoch={steps}"
    if arm == "scratch":
        trainer, knobs = "NNUNetBaselineTrainer", f"{knobs} init_from=null fine_tune.strategy=null"
    if not (work / "preprocessed" / TARGET / f"{name}.json").exists():
        run(f"nnunet_ext variant -d 930 -p {PLANS}_{source} --as {name} --set {knobs}")
    folder = work / "results" / TARGET / f"{trainer}__{name}__3d_fullres" / f"fold_{fold}"
    if not (folder / "validation" / "summary.json").exists():
        more = "--c" if (folder / "checkpoint_latest.pth").exists() else ""
        run(f"nnunet_ext train 930 3d_fullres {fold} -tr {trainer} -p {name} -device cpu {more}")
    summary = json.loads((folder / "validation" / "summary.json").read_text())
    return {label: float(scores["Dice"]) for label, scores in summary["mean"].items()}


def main() -> None:
    """Train everything that is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--source", choices=SOURCES, required=True)
    parser.add_argument("--source_steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=500, help="of the arm 'all'")
    parser.add_argument("--labelled", type=int, nargs="+", default=[5, 15])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=ARMS, default=list(ARMS))
    arguments = parser.parse_args()
    work, source, seeds = arguments.work.resolve(), arguments.source, arguments.seeds
    prepare(work, arguments.raw)
    plan(work, source, train_source(work, source, arguments.source_steps))
    truths = work / "raw" / TARGET / "labelsTr"
    cases = sorted(file.name.removesuffix(".nii.gz") for file in truths.iterdir())
    splits = json.dumps(folds(cases, arguments.labelled, seeds), indent=1)
    (work / "preprocessed" / TARGET / "splits_final.json").write_text(splits)
    ratios = time_steps(work, source)
    scores: dict[tuple[str, int], list[float]] = {}
    for place, count in enumerate(arguments.labelled):
        for number, seed in enumerate(seeds):
            for arm in arguments.only:
                steps = round(arguments.steps / ratios.get(arm.partition(",")[0], 1.0) / EPOCHS)
                dice = train_arm(work, source, arm, place * len(seeds) + number, seed, steps)
                scores.setdefault((arm, count), []).append(statistics.mean(dice.values()))
                print(f"{source} {arm}, {count} cases, seed {seed}: {dice}", flush=True)
    print(
        "| arm | " + " | ".join(f"{count} cases: {', '.join(map(str, seeds))} | mean" for count in arguments.labelled)
    )
    for arm in arguments.only:
        cells = []
        for count in arguments.labelled:
            values = scores[arm, count]
            cells += [", ".join(f"{value:.4f}" for value in values), f"{statistics.mean(values):.4f}"]
        print(f"| {arm} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
