"""Wrong labels that are planted in real scans: are they found, and does it help to correct them?

    python benchmarks/suspect_labels.py --raw ../shared/data --work FOLDER

Of 200 hippocampus cases 50 keep their labels and are scored; of the other 150, a tenth each gets a label that is
mirrored along an axis, shifted by 3 voxels along one, has its two classes exchanged, or lacks one of them. Five folds
of Lite plans are trained on these labels, ``suspect_labels`` ranks the cases by the folds' predictions, and
``correct_labels`` makes a dataset with ignored voxels and one with replaced ones. Then each arm trains on all 150
cases, or on those that are not suspected ("dropped", suspicion below 0.5), for as many steps, on one thread. The seed
draws the faults, the weights and the batches. Finished runs are not repeated. At the end, two tables: for each kind,
precision at the number planted (among these cases and the clean ones) and share with the right reason first; and mean
Dice of the 50 cases.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
from pathlib import Path

import nibabel
import numpy as np
from fine_tuning import HIPPOCAMPUS, run
from numpy.typing import NDArray

NUMBERS = {"clean": 941, "noisy": 942, "ignore": 943, "replace": 944}
ARMS = (*NUMBERS, "dropped")
KINDS = ("mirrored", "shifted", "swapped", "deleted")
# the kind of reason that names a fault
REASONS = {"mirrored": "mirrored", "shifted": "shifted", "swapped": "swapped", "deleted": "lacking"}
FOLDS, EVERY, SHIFT, EPOCHS = 5, 4, 3, 10
SCORED, DROPPED = 5, 6  # folds whose validation cases are scored; without the suspects: of the noisy dataset alone
SUSPICION = 0.5  # at which ``suspect_labels`` gives a reason
PLANS, TRAINER = "LitePlans", "NNUNetBaselineTrainer"
KNOBS = "optimizer=AdamW initial_lr=3e-3 num_val_iterations_per_epoch=1"


def name_of(arm: str) -> str:
    """Return the name of an arm's dataset."""
    return f"Dataset{NUMBERS[arm]}_Hippocampus{arm.capitalize()}"


def spoiled(labels: NDArray[np.uint8], kind: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a label map (D, H, W) with a fault."""
    if kind == "mirrored":
        return np.flip(labels, int(rng.integers(3)))
    if kind == "shifted":
        axis, steps = int(rng.integers(3)), SHIFT * int(rng.choice((-1, 1)))
        moved = np.roll(labels, steps, axis)
        moved[(slice(None),) * axis + (slice(steps) if steps > 0 else slice(steps, None),)] = 0
        return moved
    if kind == "swapped":
        return np.array([0, 2, 1], np.uint8)[labels]
    return np.where(labels == rng.integers(1, 3), 0, labels).astype(np.uint8)


def draw(cases: list[str], share: float, seed: int) -> dict[str, str]:
    """Draw as many cases for each kind of fault: {case: kind}."""
    number = round(share * len(cases))
    order = np.random.default_rng((seed, 0)).permutation(len(cases))
    return {cases[case]: KINDS[place // number] for place, case in enumerate(order[: number * len(KINDS)])}


def write_datasets(work: Path, raw: Path, share: float, seed: int, limit: int | None) -> dict[str, str]:
    """Write the clean and the noisy dataset, and return the planted faults."""
    for part in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{part}"] = str(work / part)
        (work / part).mkdir(parents=True, exist_ok=True)
    source = raw / HIPPOCAMPUS
    cases = sorted(file.name.removesuffix(".nii.gz") for file in (source / "labelsTr").glob("*.nii.gz"))[:limit]
    scored = cases[::EVERY]
    trained = [case for case in cases if case not in scored]
    planted = draw(trained, share, seed)
    folds = [
        {"train": [c for n, c in enumerate(trained) if n % FOLDS != fold], "val": trained[fold::FOLDS]}
        for fold in range(FOLDS)
    ]
    folds.append({"train": trained, "val": scored})
    description = json.loads((source / "dataset.json").read_text()) | {"numTraining": len(cases)}
    for arm in ("clean", "noisy"):
        target, planned = work / "raw" / name_of(arm), work / "preprocessed" / name_of(arm)
        for folder in (target / "imagesTr", target / "labelsTr", planned):
            folder.mkdir(parents=True, exist_ok=True)
        for number, case in enumerate(cases):
            kept = [f"imagesTr/{case}_0000.nii.gz"]
            file = target / "labelsTr" / f"{case}.nii.gz"
            if arm == "clean" or case not in planted:
                kept.append(f"labelsTr/{case}.nii.gz")
            elif not file.exists():
                stored = nibabel.load(source / "labelsTr" / file.name)
                values = np.asarray(stored.dataobj).astype(np.uint8)
                values = spoiled(values, planted[case], np.random.default_rng((seed, 1, number)))
                nibabel.save(nibabel.Nifti1Image(values, stored.affine), file)
            for each in kept:
                if not (target / each).exists():
                    (target / each).symlink_to((source / each).resolve())
        (target / "dataset.json").write_text(json.dumps(description))
        (planned / "splits_final.json").write_text(json.dumps(folds, indent=1))
    return planted


def train(work: Path, arm: str, fold: int, steps: int, seed: int, *more: str, base: str = PLANS) -> Path:
    """Train a fold unless that is done, with a variant of the plans ``base``; return its validation folder."""
    plans = f"{PLANS}_{steps}"
    if not (work / "preprocessed" / name_of(arm) / f"{plans}.json").exists():
        epochs = EPOCHS if steps >= 10 * EPOCHS else 1  # a trial run has one
        knobs = f"{KNOBS} seed={seed} num_epochs={epochs} num_iterations_per_epoch={steps // epochs}"
        run(f"nnunet_ext variant -d {NUMBERS[arm]} -p {base} --as {plans} --set {knobs}")
    folder = work / "results" / name_of(arm) / f"{TRAINER}__{plans}__3d_fullres" / f"fold_{fold}"
    if not (folder / "validation" / "summary.json").exists():
        words = ["--c"] if (folder / "checkpoint_latest.pth").exists() else []
        run(f"nnunet_ext train {NUMBERS[arm]} 3d_fullres {fold} -tr {TRAINER} -p {plans} -device cpu "
            f"{' '.join((*words, *more))}")  # fmt: skip
    return folder / "validation"


def suspects(work: Path, steps: int, seed: int) -> Path:
    """Plan, train five folds on the noisy labels, and return the table of suspects."""
    for arm in ("clean", "noisy"):
        if not (work / "preprocessed" / name_of(arm) / f"{PLANS}.json").exists():
            run(f"nnunet_ext plan_and_preprocess -d {NUMBERS[arm]} -pl LitePlanner -c 3d_fullres --no_pbar")
    for fold in range(FOLDS):
        train(work, "noisy", fold, steps, seed, "--npz")
    file = work / "suspects.csv"
    if not file.exists():
        folds = " ".join(map(str, range(FOLDS)))
        run(f"nnunet_ext suspect_labels -d {NUMBERS['noisy']} -tr {TRAINER} -p {PLANS}_{steps} -c 3d_fullres "
            f"-f {folds} -o {file}")  # fmt: skip
    return file


def detection(file: Path, planted: dict[str, str]) -> dict[str, tuple[float, float]]:
    """Return for each kind the precision at the number planted and the share with the right reason."""
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    rank, reason = {}, {}
    for row in rows:
        rank[row["case"]] = float(row["rank"])
        reason[row["case"]] = row["reasons"].split(":")[0]
    found = {}
    for kind in KINDS:
        of_kind = [case for case in rank if planted.get(case) == kind]
        compared = sorted((case for case in rank if planted.get(case, kind) == kind), key=lambda c: (-rank[c], c))
        hits = sum(case in of_kind for case in compared[: len(of_kind)])
        right = sum(reason[case] == REASONS[kind] for case in of_kind)
        found[kind] = (hits / len(of_kind), right / len(of_kind))
    return found


def correct(work: Path, arm: str, file: Path, base: str) -> None:
    """Make the dataset with corrected labels, and preprocess it."""
    if not (work / "raw" / name_of(arm)).exists():
        run(f"nnunet_ext correct_labels -d {NUMBERS['noisy']} -o {NUMBERS[arm]} -n Hippocampus{arm.capitalize()} "
            f"--from {file} --by {arm} --no_pbar")  # fmt: skip
    run(f"nnunet_ext preprocess -d {NUMBERS[arm]} -p {base} -c 3d_fullres --no_pbar")


def drop(work: Path, file: Path) -> None:
    """Add the fold whose training cases are those of the scored one without the suspects."""
    with file.open(newline="", encoding="utf-8") as stream:
        suspected = {row["case"] for row in csv.DictReader(stream) if float(row["suspicion"]) >= SUSPICION}
    splits = work / "preprocessed" / name_of("noisy") / "splits_final.json"
    folds = json.loads(splits.read_text())[:DROPPED]
    kept = [case for case in folds[SCORED]["train"] if case not in suspected]
    splits.write_text(json.dumps([*folds, {"train": kept, "val": folds[SCORED]["val"]}], indent=1))


def dice(validation: Path) -> float:
    """Return the mean Dice of both classes over the scored cases."""
    summary = json.loads((validation / "summary.json").read_text())
    return statistics.mean(float(scores["Dice"]) for scores in summary["mean"].values())


def main() -> None:
    """Train everything that is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.1, help="of the cases, for each kind of fault")
    parser.add_argument("--fold_steps", type=int, default=200, help="of each of the five folds")
    parser.add_argument("--steps", type=int, default=500, help="of each arm; 0: only the detection")
    parser.add_argument("--cases", type=int, help="only the first ones, for a trial run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=ARMS, default=list(ARMS))
    arguments = parser.parse_args()
    for number in (arguments.fold_steps, arguments.steps):
        if number % EPOCHS:
            parser.error(f"expected steps that are a multiple of {EPOCHS}, for as many epochs, got {number}.")
    found: dict[int, dict[str, tuple[float, float]]] = {}
    scores: dict[str, list[float]] = {arm: [] for arm in arguments.only}
    for seed in arguments.seeds:
        work = arguments.work.resolve() / f"seed_{seed}"
        planted = write_datasets(work, arguments.raw, arguments.share, seed, arguments.cases)
        file = suspects(work, arguments.fold_steps, seed)
        found[seed] = detection(file, planted)
        print(f"seed {seed}: {found[seed]}", flush=True)
        for arm in arguments.only if arguments.steps else ():
            base = PLANS
            if arm in ("ignore", "replace"):
                base = f"{PLANS}_{arguments.fold_steps}"  # the plans of the suspects
                correct(work, arm, file, base)
            dataset, fold = (arm, SCORED) if arm in NUMBERS else ("noisy", DROPPED)
            if fold == DROPPED:
                drop(work, file)
            scores[arm].append(dice(train(work, dataset, fold, arguments.steps, seed, base=base)))
            print(f"seed {seed}, {arm}: {scores[arm][-1]:.4f}", flush=True)
    seeds = ", ".join(map(str, arguments.seeds))
    print(f"\n| fault | precision at the number planted: {seeds} | the right reason: {seeds} |\n|---|---|---|")
    for kind in KINDS:
        cells = [", ".join(f"{found[seed][kind][place]:.2f}" for seed in arguments.seeds) for place in (0, 1)]
        print(f"| {kind} | {' | '.join(cells)} |")
    if arguments.steps:
        print(f"\n| labels | Dice: {seeds} | mean |\n|---|---|---|")
        for arm, values in scores.items():
            print(f"| {arm} | {', '.join(f'{value:.4f}' for value in values)} | {statistics.mean(values):.4f} |")


if __name__ == "__main__":
    main()
