"""A new class for a trained model, on real scans: what becomes of the classes that it knew and nobody annotated.

    python benchmarks/add_class.py --raw ../shared/data --work FOLDER

The source (MultiHeadTrainer on the left atrium and the anterior hippocampus of 150 cases, as in fine_tuning.py) knows
the anterior hippocampus. In the other 50 cases only the posterior one is annotated; 20 of them are trained with, 30 are
scored against the complete labels. Arms: with and without the knob fine_tune.keep_unannotated, and with both classes
annotated; beside them, the source itself. The seed draws the 20 cases, the weights and the batches. Nothing is chosen
on the scored cases; finished runs are not repeated. At the end, a table of mean Dice.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import nibabel
import numpy as np
from fine_tuning import HIPPOCAMPUS, RATE, folds, prepare, run, train_source

CLASSES = {"Anterior": 1, "Posterior": 2}
POSTERIOR, BOTH = (931, "Dataset931_PosteriorAlone"), (932, "Dataset932_Both")
ARMS = {
    "kept": (POSTERIOR, "fine_tune.keep_unannotated=true"),
    "not kept": (POSTERIOR, "fine_tune.keep_unannotated=false"),
    "both annotated": (BOTH, "fine_tune.keep_unannotated=false"),
}
EPOCHS, LABELLED, EVERY = 10, 20, 4


def write_dataset(work: Path, raw: Path, name: str, erased: tuple[int, ...]) -> None:
    """Make a dataset of the 50 cases without some labels; dataset.json names all."""
    target = work / "raw" / name
    files = sorted((raw / HIPPOCAMPUS / "labelsTr").glob("*.nii.gz"))[::EVERY]
    for folder in ("imagesTr", "labelsTr"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for file in files:
        image = target / "imagesTr" / file.name.replace(".nii.gz", "_0000.nii.gz")
        if not image.exists():
            image.symlink_to((raw / HIPPOCAMPUS / "imagesTr" / image.name).resolve())
        loaded = nibabel.load(file)
        values = np.asarray(loaded.dataobj).astype(np.uint8)
        values[np.isin(values, erased)] = 0
        if not (target / "labelsTr" / file.name).exists():
            nibabel.save(nibabel.Nifti1Image(values, loaded.affine), target / "labelsTr" / file.name)
    description = json.loads((raw / HIPPOCAMPUS / "dataset.json").read_text())
    (target / "dataset.json").write_text(json.dumps(description | {"numTraining": len(files)}))


def predict_by_source(work: Path, view: Path) -> Path:
    """Predict all 50 cases by the source; return the folder."""
    predicted = work / "by_source"
    if not (predicted / "plans.json").exists():
        trainer, plans, configuration = view.name.split("__")
        images = work / "raw" / BOTH[1] / "imagesTr"
        model = f"-d {view.parent.name} -tr {trainer} -p {plans} -c {configuration} -f all -device cpu"
        run(f"nnunet_ext predict -i {images} -o {predicted} {model}")
    return predicted


def dice(predicted: Path, truths: Path, label: int, cases: list[str]) -> float:
    """Return the mean Dice of a label over some of the predicted files."""
    scores = []
    for file in [predicted / f"{case}.nii.gz" for case in cases]:
        one, other = (np.asarray(nibabel.load(each / file.name).dataobj) == label for each in (predicted, truths))
        scores.append(float(2 * (one & other).sum() / (one.sum() + other.sum())))
    return statistics.mean(scores)


def train_arm(work: Path, arm: str, seed: int, steps: int, view: Path) -> Path:
    """Fine-tune unless that is done; return the folder of the predicted cases."""
    (number, dataset), knob = ARMS[arm]
    name = f"Add_{arm.replace(' ', '_')}_{seed}"
    if not (work / "preprocessed" / dataset / "AddPlans.json").exists():
        run(f"nnunet_ext plan_finetune -d {number} --from {view} -p AddPlans")
    truths = work / "raw" / dataset / "labelsTr"
    cases = sorted(file.name.removesuffix(".nii.gz") for file in truths.iterdir())
    splits = json.dumps(folds(cases, [LABELLED], range(3)), indent=1)
    (work / "preprocessed" / dataset / "splits_final.json").write_text(splits)
    if not (work / "preprocessed" / dataset / f"{name}.json").exists():
        knobs = f"{RATE} {knob} seed={seed} num_epochs={EPOCHS} num_val_iterations_per_epoch=5"
        run(f"nnunet_ext variant -d {number} -p AddPlans --as {name} --set {knobs} "
            f"num_iterations_per_epoch={steps // EPOCHS}")  # fmt: skip
    folder = work / "results" / dataset / f"FineTuneTrainer__{name}__3d_fullres" / f"fold_{seed}"
    if not (folder / "validation" / "summary.json").exists():
        more = "--c" if (folder / "checkpoint_latest.pth").exists() else ""
        run(f"nnunet_ext train {number} 3d_fullres {seed} -tr FineTuneTrainer -p {name} -device cpu {more}")
    return folder / "validation"


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--source_steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", choices=range(3), default=[0, 1, 2])
    arguments = parser.parse_args()
    work, raw = arguments.work.resolve(), arguments.raw
    prepare(work, raw)
    view = train_source(work, "multi_head", arguments.source_steps)
    write_dataset(work, raw, POSTERIOR[1], erased=(CLASSES["Anterior"],))
    write_dataset(work, raw, BOTH[1], erased=())
    by_source, truths = predict_by_source(work, view), raw / HIPPOCAMPUS / "labelsTr"
    print("| arm | seed | " + " | ".join(CLASSES) + " |")
    for seed in arguments.seeds:
        for arm in ARMS:
            predicted = train_arm(work, arm, seed, arguments.steps, view)
            scored = sorted(file.name.removesuffix(".nii.gz") for file in predicted.glob("*.nii.gz"))
            scores = [dice(predicted, truths, label, scored) for label in CLASSES.values()]
            print(f"| {arm} | {seed} | " + " | ".join(f"{score:.4f}" for score in scores) + " |", flush=True)
        print(f"| the source | {seed} | {dice(by_source, truths, CLASSES['Anterior'], scored):.4f} | |", flush=True)


if __name__ == "__main__":
    main()
