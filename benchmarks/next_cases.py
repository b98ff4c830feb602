"""Simulated annotation: cases chosen by ``nnunet_ext next_cases`` against cases chosen at random, on real scans.

    python benchmarks/next_cases.py --raw ../shared/data --work FOLDER --seeds 0 1 2 --steps 800

Of the 200 hippocampus cases, 60 are scored in every run; they are never chosen from and used for nothing else. For each
seed, a pool of 100 others is drawn, 5 of which are labelled from the start. A model is trained on these 5. Five more of
the pool are chosen with this model, by next_cases or at random (its --random), and a model is trained from scratch on
the 10 cases, with the same plans, number of steps and seed of the weights. Nothing is tuned on scores. Each finished
run is a line in FOLDER/runs.jsonl, and is not repeated; at the end, a table of mean Dice and 95 % Hausdorff distance
(of each case and class). Takes three trainings of --steps steps for each seed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from nnunet_ext.evaluation.case_scores import case_scores
from nnunet_ext.evaluation.markdown_table import markdown_table

SOURCE, ENDING = "Dataset004_Hippocampus", ".nii.gz"
ARMS = ("start", "next_cases", "random")
TRAINER, PLANS, CONFIGURATION = "NNUNetBaselineTrainer", "LitePlans", "3d_fullres"
EPOCHS, FIRST = 10, 600
LEAST = 1000  # draws scored cases; the seeds of runs are below it


def run(line: str) -> None:
    """Run a command; its output goes to the log of this benchmark."""
    print(f"$ {line}", flush=True)
    subprocess.run(shlex.split(line), check=True)


def draw(cases: Sequence[str], seed: int, scored: int, pool: int, start: int) -> dict[str, list[str]]:
    """Return the cases to score, which are the same for each seed, those labelled first, and the rest of the pool."""
    fixed = np.random.default_rng(LEAST).permutation(len(cases))
    others = [cases[number] for number in sorted(fixed[scored:])]
    drawn = [others[number] for number in np.random.default_rng(seed).permutation(len(others))[:pool]]
    return {
        "scored": [cases[number] for number in sorted(fixed[:scored])],
        "start": sorted(drawn[:start]),
        "pool": sorted(drawn[start:]),
    }


def link_images(source: Path, cases: Sequence[str], folder: Path) -> None:
    """Link images into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        file = folder / f"{case}_0000{ENDING}"
        if not file.exists():
            file.symlink_to(source / "imagesTr" / file.name)


class Simulation:
    """The runs of one seed.

    Args:
        work: Folder for everything.
        source: The labelled dataset.
        seed: Of the pool, the control and the weights.
        parts: Cases: scored, start, pool.
        more: Cases to choose.
        steps: Of each training.
    """

    def __init__(self, work: Path, source: Path, seed: int, parts: dict[str, list[str]], more: int, steps: int) -> None:
        self.work, self.source, self.seed, self.parts, self.more, self.steps = work, source, seed, parts, more, steps

    def name(self, arm: str) -> str:
        """Name of the dataset of an arm."""
        return f"Dataset{self.number(arm)}_Seed{self.seed}{arm.title().replace('_', '')}"

    def number(self, arm: str) -> int:
        """Number of the dataset of an arm."""
        return FIRST + len(ARMS) * self.seed + ARMS.index(arm)

    def model(self, arm: str) -> Path:
        """Folder of the model of an arm."""
        return self.work / "results" / self.name(arm) / f"{TRAINER}__{PLANS}__{CONFIGURATION}"

    def chosen(self, arm: str) -> list[str]:
        """Choose cases with the first model."""
        out = self.work / f"seed{self.seed}_{arm}"
        if not (out / "next_cases.csv").exists():
            pool = self.work / f"seed{self.seed}_pool"
            link_images(self.source, self.parts["pool"], pool)
            how = f"--random --seed {self.seed}" if arm == "random" else ""
            run(f"nnunet_ext next_cases {self.model('start')} {pool} -k {self.more} -f all -device cpu -o {out} {how}")
        with (out / "next_cases.csv").open(newline="", encoding="utf-8") as stream:
            return [row["case"] for row in csv.DictReader(stream)]

    def prepare(self, arm: str, cases: Sequence[str]) -> None:
        """Make and preprocess the dataset of an arm; all arms have the plans of the first one."""
        raw, preprocessed = (self.work / kind / self.name(arm) for kind in ("raw", "preprocessed"))
        link_images(self.source, cases, raw / "imagesTr")
        (raw / "labelsTr").mkdir(exist_ok=True)
        for case in cases:
            file = raw / "labelsTr" / f"{case}{ENDING}"
            if not file.exists():
                file.symlink_to(self.source / "labelsTr" / file.name)
        description = json.loads((self.source / "dataset.json").read_text())
        (raw / "dataset.json").write_text(json.dumps(description | {"numTraining": len(cases)}))
        if (preprocessed / "done").exists():
            return
        knobs = f"num_epochs={EPOCHS} num_iterations_per_epoch={self.steps // EPOCHS} num_val_iterations_per_epoch=1"
        knobs = f"{knobs} optimizer=AdamW initial_lr=3e-3 seed={self.seed}"
        number = self.number(arm)
        run(f"nnunet_ext plan_and_preprocess -d {number} -pl LitePlanner -c {CONFIGURATION} --no_pp --set {knobs}")
        first = self.work / "preprocessed" / self.name("start") / f"{PLANS}.json"
        plans = json.loads(first.read_text()) | {"dataset_name": self.name(arm)}
        (preprocessed / f"{PLANS}.json").write_text(json.dumps(plans, indent=1))
        run(f"nnunet_ext preprocess -d {number} -p {PLANS} -c {CONFIGURATION}")
        (preprocessed / "done").touch()

    def train(self, arm: str) -> None:
        """Train on all cases of an arm, unless that is done."""
        fold = self.model(arm) / "fold_all"
        if not (fold / "checkpoint_final.pth").exists():
            more = "--c" if (fold / "checkpoint_latest.pth").exists() else ""
            run(f"nnunet_ext train {self.number(arm)} {CONFIGURATION} all -tr {TRAINER} -p {PLANS} -device cpu {more}")

    def score(self, arm: str) -> dict[str, Any]:
        """Predict the cases to score, and compare with their labels."""
        images, predicted = self.work / "scored", self.work / f"seed{self.seed}_{arm}_predicted"
        link_images(self.source, self.parts["scored"], images)
        run(f"nnunet_ext predict -d {self.number(arm)} -c {CONFIGURATION} -tr {TRAINER} -p {PLANS} -f all -device cpu "
            f"-i {images} -o {predicted}")  # fmt: skip
        labels = json.loads((self.source / "dataset.json").read_text())["labels"]
        classes = {name: int(value) for name, value in labels.items() if name != "background"}
        found = []
        for case in self.parts["scored"]:
            truth = nibabel.load(self.source / "labelsTr" / f"{case}{ENDING}")
            maps = [np.asarray(image.dataobj) for image in (nibabel.load(predicted / f"{case}{ENDING}"), truth)]
            found.append(case_scores(maps[0], maps[1], [float(step) for step in truth.header.get_zooms()], classes))
        return {
            measure: {name: statistics.mean(scores[name][measure] for scores in found) for name in classes}
            for measure in ("dice", "hd95_mm")
        }

    def result(self, arm: str) -> dict[str, Any]:
        """Choose, train and score."""
        start = time.perf_counter()
        cases = sorted(self.parts["start"] + ([] if arm == "start" else self.chosen(arm)))
        self.prepare(arm, cases)
        self.train(arm)
        scores = self.score(arm)
        seconds = round(time.perf_counter() - start)
        return {"seed": self.seed, "arm": arm, "steps": self.steps, "cases": cases, **scores, "seconds": seconds}


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Return the table: an arm in a row; Dice and distance of each seed, and their means."""
    seeds = sorted({each["seed"] for each in runs})
    rows = [["chosen by", "cases", *(f"seed {seed}: Dice, HD95" for seed in seeds), "mean Dice", "mean HD95 (mm)"]]
    for arm in ARMS:
        found = {each["seed"]: each for each in runs if each["arm"] == arm}
        means = {
            seed: [statistics.mean(each[measure].values()) for measure in ("dice", "hd95_mm")]
            for seed, each in found.items()
        }
        if means:
            cells = [f"{means[seed][0]:.4f}, {means[seed][1]:.2f}" if seed in means else "" for seed in seeds]
            dice, distance = (statistics.mean(values) for values in zip(*means.values(), strict=True))
            count = len(next(iter(found.values()))["cases"])
            rows.append([arm, str(count), *cells, f"{dice:.4f}", f"{distance:.2f}"])
    return markdown_table(rows)


def main() -> None:
    """Do what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help=f"folder with {SOURCE}")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything; one for each setting")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--scored", type=int, default=60, help="cases to score")
    parser.add_argument("--pool", type=int, default=100, help="cases of a pool")
    parser.add_argument("--start", type=int, default=5, help="cases that are labelled from the start")
    parser.add_argument("--more", type=int, default=5, help="cases to choose")
    options = parser.parse_args()
    if options.steps < EPOCHS or options.steps % EPOCHS:
        parser.error(f"--steps: expected a multiple of {EPOCHS}, for as many epochs, got {options.steps}. Correct it.")
    work, source = options.work.resolve(), (options.raw / SOURCE).resolve()
    for kind in ("raw", "preprocessed", "results"):
        (work / kind).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{kind}"] = str(work / kind)
    setting = {name: getattr(options, name) for name in ("steps", "scored", "pool", "start", "more")}
    kept = work / "setting.json"
    if kept.exists() and json.loads(kept.read_text()) != setting:
        parser.error(f"{kept}: expected {setting}, as given now, found another setting. Choose another --work.")
    kept.write_text(json.dumps(setting))
    cases = sorted(file.name.removesuffix(ENDING) for file in (source / "labelsTr").glob(f"*{ENDING}"))
    file = work / "runs.jsonl"
    runs = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for seed in options.seeds:
        parts = draw(cases, seed, options.scored, options.pool, options.start)
        simulation = Simulation(work, source, seed, parts, options.more, options.steps)
        for arm in ARMS:
            if not any((each["seed"], each["arm"]) == (seed, arm) for each in runs):
                runs.append(simulation.result(arm))
                with file.open("a") as stream:
                    stream.write(json.dumps(runs[-1]) + "\n")
    print(table([each for each in runs if each["seed"] in options.seeds]))


if __name__ == "__main__":
    main()
