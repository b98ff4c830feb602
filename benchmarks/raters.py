"""Ways to train on several raters whose truth is known, on real scans, with equal time.

    python benchmarks/raters.py --raw ../shared/data --work FOLDER
    python benchmarks/raters.py --raw ../shared/data --work FOLDER --few

Three raters of the hippocampus are made of its labels: one draws a voxel too much, one right, one a voxel too little,
each with a smooth boundary noise of 0.7 voxel. Each training case lacks one of them with a probability of 0.3. With
--few, the generous rater has 20 cases and the strict one all others, and nobody has both. Every fourth case is held
out, with all its raters. labelsTr of the others is the majority; nobody sees the truth before it is scored.

Every arm gets the computing time of --steps steps of ``majority``, by the CPU seconds of its steps with their batches,
timed in turn; validation is not counted. Nothing is chosen on the held-out cases. Finished runs are not repeated.
At the end, a table over the held-out cases, means over classes: Dice of the consensus to the truth, Dice of the opinion
of each rater to that rater, and volumes relative to the truth, of opinions and of what the raters drew. The opinion is
that of the rater's view, or the consensus where a mode has no views.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from nnunet_ext.labels.raters.scores import dice
from nnunet_ext.phantoms.raters import RATERS, drawn_by

SOURCE = "Dataset004_Hippocampus"
NOISE, MISSING, FEW = 0.7, 0.3, 20
CLASSES = (1, 2)
EPOCHS, PLANS = 10, "LitePlans"
KNOBS = "optimizer=AdamW initial_lr=3e-3 num_val_iterations_per_epoch=5"
ARMS = ("majority", "random", "soft", "agreement", "heads", "padl")
WITH_VIEWS = ("heads", "padl")


def run(line: str) -> None:
    """Run a command; its output goes to the log of this benchmark."""
    print(f"$ {line}", flush=True)
    subprocess.run(shlex.split(line), check=True)


def read(file: Path) -> NDArray[np.uint8]:
    """Read a label map."""
    return np.asarray(nibabel.load(file).dataobj).astype(np.uint8)


def write(array: NDArray[np.uint8], like: Path, file: Path) -> None:
    """Write a label map with the geometry of another."""
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, nibabel.load(like).affine), file)


def link(file: Path, to: Path) -> None:
    """Link an image."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if not to.exists():
        to.symlink_to(file.resolve())


def prepare(work: Path, raw: Path, *, few: bool, cases: int | None) -> str:
    """Set nnU-Net's folders; write images, raters and held-out cases, and plan. Return the dataset's name."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
        (work / name).mkdir(parents=True, exist_ok=True)
    dataset = "Dataset941_FewRaters" if few else "Dataset940_Raters"
    place, labels = work / "raw" / dataset, raw / SOURCE / "labelsTr"
    names = sorted(file.name.removesuffix(".nii.gz") for file in labels.glob("*.nii.gz"))[:cases]
    if not (place / "dataset.json").exists():
        for number, case in enumerate(names):
            rng = np.random.default_rng((0, number))
            truth, held_out = read(labels / f"{case}.nii.gz"), number % 4 == 0
            absent = {list(RATERS)[rng.integers(len(RATERS))]} if rng.random() < MISSING else set()
            if few:
                absent = {"exact", "strict"} if number <= FEW * 4 // 3 else {"exact", "generous"}
            to = work / f"held_out_{dataset}" if held_out else place
            link(raw / SOURCE / "imagesTr" / f"{case}_0000.nii.gz", to / "imagesTr" / f"{case}_0000.nii.gz")
            for rater, shift in RATERS.items():
                drawn = drawn_by(truth, shift, NOISE, rng)
                if held_out or rater not in absent:
                    folder = to / ("raters" if held_out else "labelsTr_raters")
                    write(drawn, labels / f"{case}.nii.gz", folder / rater / f"{case}.nii.gz")
        description = json.loads((raw / SOURCE / "dataset.json").read_text())
        description["numTraining"] = len(list((place / "imagesTr").iterdir()))
        (place / "dataset.json").write_text(json.dumps(description))
    if not (place / "labelsTr").exists():
        run(f"nnunet_ext fuse_raters -d {dataset[7:10]} --by majority --no_pbar")
    if not (work / "preprocessed" / dataset / f"{PLANS}_3d_fullres_raters.complete.json").exists():
        run(f"nnunet_ext plan_and_preprocess -d {dataset[7:10]} -pl LitePlanner -c 3d_fullres --no_pbar --set {KNOBS}")
    trained = sorted(file.name.removesuffix(".nii.gz") for file in (place / "labelsTr").iterdir())
    splits = [{"train": trained[:-3], "val": trained[-3:]}]
    (work / "preprocessed" / dataset / "splits_final.json").write_text(json.dumps(splits))
    return dataset


def variant(work: Path, dataset: str, name: str, knobs: str) -> None:
    """Write plans with other knobs, unless they are there."""
    if not (work / "preprocessed" / dataset / f"{name}.json").exists():
        run(f"nnunet_ext variant -d {dataset[7:10]} -p {PLANS} --as {name} --set {knobs}")


def time_steps(work: Path, dataset: str, pairs: int = 25) -> dict[str, float]:
    """Return CPU seconds of a batch and its step relative to those of ``majority``: medians, the arms in turn."""
    file = work / f"steps_{dataset}.json"
    if file.exists():
        found: dict[str, float] = json.loads(file.read_text())
        return found
    import torch

    from nnunet_ext.methods.raters.trainer import RatersTrainer

    torch.set_num_threads(1)
    os.environ["nnUNet_n_proc_DA"] = "0"
    ready: dict[str, tuple[Any, Any]] = {}
    for arm in ARMS:
        name = f"{PLANS}_time_{arm}"
        variant(work, dataset, name, f"raters.mode={arm}")
        folder = work / "preprocessed" / dataset
        plans = json.loads((folder / f"{name}.json").read_text()) | {"continue_training": False}
        described = json.loads((folder / "dataset.json").read_text())
        trainer = RatersTrainer(plans, "3d_fullres", 0, described, device=torch.device("cpu"))
        trainer.initialize()
        ready[arm] = trainer, trainer.get_dataloaders()[0]
    del os.environ["nnUNet_n_proc_DA"]
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for number in range(pairs + 1):
        for arm, (trainer, loader) in ready.items():
            trainer.network.train()
            start = time.process_time()
            trainer.train_step(next(loader))
            if number:
                seconds[arm].append(time.process_time() - start)
    medians = {arm: statistics.median(values) for arm, values in seconds.items()}
    print("CPU seconds of a batch and its step:", medians, flush=True)
    ratios = {arm: median / medians["majority"] for arm, median in medians.items()}
    file.write_text(json.dumps(ratios))
    return ratios


def predictions(work: Path, dataset: str, arm: str, seed: int, steps: int) -> dict[str, Path]:
    """Train one arm and predict the held-out cases, unless that is done; return folders of "" and of each rater."""
    name = f"{PLANS}_{arm}_{seed}"
    knobs = f"raters.mode={arm} seed={seed} num_epochs={EPOCHS} num_iterations_per_epoch={steps}"
    variant(work, dataset, name, knobs)
    fold = work / "results" / dataset / f"RatersTrainer__{name}__3d_fullres" / "fold_0"
    if not (fold / "validation" / "summary.json").exists():
        more = "--c" if (fold / "checkpoint_latest.pth").exists() else ""
        run(f"nnunet_ext train {dataset[7:10]} 3d_fullres 0 -tr RatersTrainer -p {name} -device cpu {more}")
    found = {}
    for rater in ("", *(RATERS if arm in WITH_VIEWS else ())):
        place = work / "predicted" / dataset / name / (rater or "consensus")
        if not (place / "done").exists():
            images, plans = work / f"held_out_{dataset}" / "imagesTr", f"{name}_{rater}" if rater else name
            run(f"nnunet_ext predict -i {images} -o {place} -d {dataset[7:10]} -c 3d_fullres -f 0 -tr RatersTrainer "
                f"-p {plans} -device cpu")  # fmt: skip
            (place / "done").touch()
        found[rater] = place
    return found


def scores(work: Path, dataset: str, raw: Path, folders: dict[str, Path]) -> dict[str, float]:
    """Return the means over held-out cases and classes by name."""
    found: dict[str, list[float]] = {}
    for file in sorted((work / f"held_out_{dataset}" / "raters" / "exact").glob("*.nii.gz")):
        truth, consensus = read(raw / SOURCE / "labelsTr" / file.name), read(folders[""] / file.name)
        drawn = {rater: read(file.parents[1] / rater / file.name) for rater in RATERS}
        opinions = {rater: read(folders.get(rater, folders[""]) / file.name) for rater in RATERS}
        for label in CLASSES:
            found.setdefault("truth", []).append(dice(consensus == label, truth == label))
            volume = max(int((truth == label).sum()), 1)
            for rater in RATERS:
                own, opinion = drawn[rater] == label, opinions[rater] == label
                found.setdefault(f"dice {rater}", []).append(dice(opinion, own))
                found.setdefault(f"volume {rater}", []).append(int(opinion.sum()) / volume)
                found.setdefault(f"drawn {rater}", []).append(int(own.sum()) / volume)
    return {name: float(np.nanmean(values)) for name, values in found.items()}


def main() -> None:
    """Train everything that is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500, help="of the arm 'majority'")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--few", action="store_true", help="two raters, one of whom has few cases")
    parser.add_argument("--cases", type=int, help="of the source, to try the benchmark [all]")
    arguments = parser.parse_args()
    work, raw = arguments.work.resolve(), arguments.raw.resolve()
    dataset = prepare(work, raw, few=arguments.few, cases=arguments.cases)
    ratios = time_steps(work, dataset)
    raters = [rater for rater in RATERS if not (arguments.few and rater == "exact")]
    columns = ["truth", *(f"dice {rater}" for rater in raters), *(f"volume {rater}" for rater in raters)]
    rows, drawn = [], {}
    for arm in arguments.only:
        found = []
        for seed in arguments.seeds:
            steps = max(round(arguments.steps / ratios[arm] / EPOCHS), 1)
            found.append(scores(work, dataset, raw, predictions(work, dataset, arm, seed, steps)))
            print(f"{arm}, seed {seed}, {steps * EPOCHS} steps: {found[-1]}", flush=True)
        drawn = found[-1]
        means = [statistics.mean(each[column] for each in found) for column in columns]
        each_seed = ", ".join(f"{each['truth']:.4f}" for each in found)
        rows.append([arm, each_seed, *(f"{mean:.4f}" for mean in means)])
    seeds = ", ".join(map(str, arguments.seeds))
    print(f"| arm | consensus to truth, seeds {seeds} | mean | " + " | ".join(columns[1:]) + " |")
    print("|---" * (len(columns) + 2) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    own = [
        "" if not column.startswith("volume") else f"{drawn[column.replace('volume', 'drawn')]:.4f}"
        for column in columns
    ]
    print("| drawn by the raters | | " + " | ".join(own) + " |")


if __name__ == "__main__":
    main()
