"""What labels are worth of which only some slices are annotated, on real scans.

    python benchmarks/propagate_labels.py --raw ../shared/data --quality
    python benchmarks/propagate_labels.py --raw ../shared/data --work FOLDER --source atrium --seeds 0 1

--quality trains nothing: every k-th slice of the structures' extent, and its last one, stay annotated; the others are
filled by each method of ``nnunet_ext propagate_labels --keep all`` and scored (Dice of the hidden slices, mean over
classes and cases). Beside it, for the method shape, the share of right voxels of those that ``--keep confident`` fills
and of the others, of all that are foreground in truth or result.

Else, a training on dense labels of some cases is compared with trainings on every k-th slice of the same cases, in
3d and in 2d, after propagation, and with a k-th of the cases annotated densely. All are scored on the dense labels of
cases that no training sees, by ``nnunet_ext compare``. Every arm gets the computing time of --steps steps in 3d: by the
CPU seconds of steps in 2d and of predictions, timed in turn. Nothing is chosen on the scored cases. Finished runs are
not repeated; at the end, the table of ``compare``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from nnunet_ext.evaluation.markdown_table import markdown_table
from nnunet_ext.labels.propagation.propagate import METHODS, Rule, propagate
from nnunet_ext.labels.propagation.structures import Structures

ENDING, EPOCHS, CONFIGURATION = ".nii.gz", 10, "3d_fullres"
PLANS, PLANE_PLANS = "SlicesLite", "SlicesLite2d"
PLANE_BATCH = 24
ORDER = 1000  # draws training and scored cases; the seeds of runs are below it


@dataclass(frozen=True)
class Source:
    """A dataset with dense labels.

    Args:
        name: Its folder.
        number: Of the dataset with the cases in use; those after it are the arms'.
        train: Cases to train on.
        test: Cases to score.
        spacing: Target spacing in 3d, which keeps the images' own along axis 0; empty: the planned one.
        plane: Target spacing in 2d, with which axis 0 stays the first one.
    """

    name: str
    number: int
    train: int
    test: int
    spacing: str = ""
    plane: str = ""


SOURCES = {
    "atrium": Source("Dataset020_LeftAtrium", 500, 16, 16, "1.25 2.5 2.5", "2.5 2.5 2.5"),
    "hippocampus": Source("Dataset004_Hippocampus", 550, 40, 60),
}
ARMS: dict[str, tuple[str, str]] = {  # how labels are made of the sparse ones, and configuration
    "ignore": ("", CONFIGURATION),
    "2d": ("", "2d"),
    "nearest": ("--keep all --method nearest", CONFIGURATION),
    "distance": ("--keep all --method distance", CONFIGURATION),
    "aligned": ("--keep all --method shape", CONFIGURATION),
    "confident": ("--keep confident --method shape", CONFIGURATION),
    "confident, second round": ("--keep confident --method shape", CONFIGURATION),
    "few dense cases": ("", CONFIGURATION),
}


def run(line: str) -> None:
    """Run a command; its output goes to the log of this benchmark."""
    print(f"$ {line}", flush=True)
    subprocess.run(shlex.split(line), check=True)


def labels_of(file: Path) -> tuple[NDArray[Any], tuple[float, ...]]:
    """Return a label map (D, H, W) and its spacing in mm, in nnU-Net's order of axes."""
    image: Any = nibabel.load(file)
    return np.asarray(image.dataobj).T.astype(np.int64), tuple(map(float, image.header.get_zooms()))[::-1]


def hide(labels: NDArray[Any], every: int, ignore: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Keep every k-th slice of the structures' extent and its last; return that, and which slices are hidden."""
    extent = np.flatnonzero(labels.any((1, 2)))
    kept = sorted({*range(extent[0], extent[-1] + 1, every), int(extent[-1])})
    sparse, hidden = np.full_like(labels, ignore), np.zeros(len(labels), bool)
    sparse[kept] = labels[kept]
    hidden[extent[0] : extent[-1] + 1] = True
    hidden[kept] = False
    return sparse, hidden


def dice(found: NDArray[Any], truth: NDArray[Any], classes: Sequence[int]) -> float:
    """Return the mean Dice of the classes that one of two label maps has; NaN if there is none."""
    counts = [(((found == c) & (truth == c)).sum(), (found == c).sum() + (truth == c).sum()) for c in classes]
    return float(np.mean([2 * both / total for both, total in counts if total] or [np.nan]))


def quality(raw: Path, source: Source, every: Sequence[int]) -> list[list[str]]:
    """Score each method on the hidden slices of all cases; return a row for each distance of annotated slices."""
    description = json.loads((raw / source.name / "dataset.json").read_text())
    ignore = max(description["labels"].values()) + 1
    structures = Structures.of(description["labels"] | {"ignore": ignore})
    rows = []
    for k in every:
        scores: dict[str, list[float]] = {method: [] for method in METHODS}
        right = {True: [0, 0], False: [0, 0]}
        for file in sorted((raw / source.name / "labelsTr").glob(f"*{ENDING}")):
            truth, spacing = labels_of(file)
            sparse, hidden = hide(truth, k, ignore)
            if not hidden.any():
                continue
            filled = {
                method: propagate(sparse, structures, ignore, 0, spacing, Rule(method, "all"))  # type: ignore[arg-type]
                for method in METHODS
            }
            for method, found in filled.items():
                scores[method].append(dice(found[hidden], truth[hidden], range(1, ignore)))
            found = filled["shape"]
            sure = propagate(sparse, structures, ignore, 0, spacing, Rule("shape", "confident", k)) != ignore
            for confident, counts in right.items():
                seen = (sure == confident) & hidden[:, None, None] & ((found > 0) | (truth > 0))
                counts[0] += int((found == truth)[seen].sum())
                counts[1] += int(seen.sum())
        means = [f"{np.nanmean(scores[method]):.3f}" for method in ("nearest", "distance", "shape")]
        shares = [f"{hits / max(voxels, 1):.3f}" for hits, voxels in right.values()]
        rows.append([f"{source.name[11:]}, one slice in {k}", str(len(scores["shape"])), *means, *shares])
    return rows


def prepare(work: Path, raw: Path, source: Source) -> None:
    """Set nnU-Net's folders and make a dataset of links to the cases in use."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
        (work / name).mkdir(parents=True, exist_ok=True)
    cases = sorted(file.name.removesuffix(ENDING) for file in (raw / source.name / "labelsTr").glob(f"*{ENDING}"))
    drawn = [cases[number] for number in np.random.default_rng(ORDER).permutation(len(cases))]
    train, test = drawn[: source.train], drawn[source.train : source.train + source.test]
    (work / f"{source.number}_train.txt").write_text("\n".join(train))
    (work / f"{source.number}_test.txt").write_text("\n".join(test))
    place = work / "raw" / f"Dataset{source.number}_{source.name[11:]}"
    for case in (*train, *test):
        for name in (f"imagesTr/{case}_0000{ENDING}", f"labelsTr/{case}{ENDING}"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            if not (place / name).exists():
                (place / name).symlink_to((raw / source.name / name).resolve())
    description = json.loads((raw / source.name / "dataset.json").read_text())
    (place / "dataset.json").write_text(json.dumps(description | {"numTraining": len(train) + len(test)}))


def dataset_of(source: Source, arm: str, every: int) -> int:
    """Return the number of an arm's dataset; some arms share one."""
    if arm == "dense":
        return source.number + 1
    place = {"2d": "ignore", "confident, second round": "confident"}.get(arm, arm)
    return source.number + 2 + list(ARMS).index(place) + len(ARMS) * (every == 8)


def make_dataset(work: Path, source: Source, arm: str, every: int) -> int:
    """Make, plan and preprocess the dataset of an arm, unless that is done; return its number."""
    number, name = dataset_of(source, arm, every), source.name[11:]
    configuration = ARMS.get(arm, ("", CONFIGURATION))[1]
    plans, spacing = (PLANE_PLANS, source.plane) if configuration == "2d" else (PLANS, source.spacing)
    folder = f"Dataset{number}_{name}"
    test = f"--test {work / f'{source.number}_test.txt'}"
    if not (work / "raw" / folder / "dataset.json").exists():
        options = ARMS.get(arm, ("", ""))[0]
        if arm in ("dense", "few dense cases"):
            train = (work / f"{source.number}_train.txt").read_text().split()
            listed = work / f"{number}_labelled.txt"
            listed.write_text("\n".join(train if arm == "dense" else train[: max(1, len(train) // every)]))
            run(f"nnunet_ext hide_labels -d {source.number} -o {number} --labelled {listed} {test}")
        elif options:
            sparse = make_dataset(work, source, "ignore", every)
            run(f"nnunet_ext propagate_labels -d {sparse} -o {number} {options} --gap {every} --no_pbar")
        else:
            run(f"nnunet_ext hide_labels -d {source.number} -o {number} --every_slice {every} {test}")
    if not (work / "preprocessed" / folder / f"{plans}_{configuration}.complete.json").exists():
        target = f"-overwrite_target_spacing {spacing}" if spacing else ""
        knobs = "optimizer=AdamW initial_lr=3e-3 num_val_iterations_per_epoch=1"
        run(
            f"nnunet_ext plan_and_preprocess -d {number} -pl LitePlanner -c {configuration} {target} "
            f"-overwrite_plans_name {plans} --no_pbar --no_check -np 1 -npfp 1 --set {knobs}"
        )
        if configuration == "2d":  # Lite plans have 2 patches of any size in a batch
            file = work / "preprocessed" / folder / f"{plans}.json"
            content = json.loads(file.read_text())
            content["configurations"]["2d"]["batch_size"] = PLANE_BATCH
            file.write_text(json.dumps(content, indent=1))
    return number


def median_seconds(functions: dict[str, Callable[[], Any]], rounds: int = 5) -> dict[str, float]:
    """Return median CPU seconds of calls, in turn; the first round does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if number:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def time_steps(work: Path, source: Source, every: int) -> dict[str, float]:
    """Return CPU seconds of a 2d step and of predicting all training cases, relative to those of a 3d step.

    A step includes its batch.
    """
    file = work / f"{source.number}_steps.json"
    if file.exists():
        found: dict[str, float] = json.loads(file.read_text())
        return found
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer

    torch.set_num_threads(1)
    os.environ["nnUNet_n_proc_DA"] = "0"  # batches are made in this process
    functions: dict[str, Callable[[], Any]] = {}
    for arm in ("ignore", "2d"):
        configuration, plans = ARMS[arm][1], PLANE_PLANS if arm == "2d" else PLANS
        planned = work / "preprocessed" / f"Dataset{make_dataset(work, source, arm, every)}_{source.name[11:]}"
        content = json.loads((planned / f"{plans}.json").read_text()) | {"continue_training": False}
        description = json.loads((planned / "dataset.json").read_text())
        trainer = NNUNetBaselineTrainer(content, configuration, "all", description, device=torch.device("cpu"))
        trainer.on_train_start()
        manager = trainer.configuration_manager
        trainer.network.train()
        functions[arm] = lambda trainer=trainer: trainer.train_step(next(trainer.dataloader_train))
        if arm == "2d":
            continue
        predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
        axes = tuple(range(len(manager.patch_size)))
        trained = (trainer.network, trainer.plans_manager, manager, None, description, "", axes)
        predictor.manual_initialization(*trained)
        shape = json.loads((planned / f"{plans}.json").read_text())["configurations"][configuration]
        image = torch.randn((1, *map(round, shape["median_image_size_in_voxels"])))

        def predict(trainer: Any = trainer, predictor: Any = predictor, image: Any = image) -> None:
            trainer.set_deep_supervision_enabled(False)
            predictor.predict_sliding_window_return_logits(image)
            trainer.set_deep_supervision_enabled(True)

        functions["predict"] = predict
    seconds = median_seconds(functions)
    os.environ["nnUNet_n_proc_DA"] = "1"
    print("CPU seconds:", seconds, flush=True)
    ratios = {"2d": seconds["2d"], "predictions": seconds["predict"] * source.train}
    ratios = {name: value / seconds["ignore"] for name, value in ratios.items()}
    file.write_text(json.dumps(ratios))
    return ratios


def iterations(arm: str, steps: int, ratios: dict[str, float]) -> int:
    """Return an arm's iterations in each epoch, such that it takes the computing time of ``steps`` steps in 3d."""
    if arm == "2d":
        return max(1, round(steps / ratios["2d"] / EPOCHS))
    if arm == "confident, second round":
        return max(1, round((steps - ratios["predictions"]) / EPOCHS))
    return max(1, round(steps / EPOCHS))


def compare(work: Path, source: Source, arm: str, every: int, seeds: Sequence[int], steps: int) -> Path:
    """Train and score an arm, unless that is done; return the file with the table."""
    number, out = make_dataset(work, source, arm, every), work / f"{source.name[11:]}_results"
    configuration = ARMS.get(arm, ("", CONFIGURATION))[1]
    trainer = "NNUNetBaselineTrainer"
    if arm == "confident, second round":
        trainer = "PseudoLabelTrainer:pseudo_label.ignored_voxels=true+pseudo_label.anew=false"
    name = f"{arm} every {every}th" if arm != "dense" else arm
    count = iterations(arm, steps, time_steps(work, source, every) if arm in ARMS else {})
    plans = PLANE_PLANS if configuration == "2d" else PLANS
    run(
        f"nnunet_ext compare -d {number} -p {plans} -c {configuration} -f all "
        f"--epochs {EPOCHS} --iterations {count} --seeds {' '.join(map(str, seeds))} -device cpu -o {out} "
        f"-tr '{name}={trainer}'"
    )
    return out / "results.md"


def main() -> None:
    """Score the methods, or train everything that is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--quality", action="store_true", help="score the filled slices and train nothing")
    parser.add_argument("--work", type=Path, help="folder for everything that is trained")
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--every", type=int, nargs="+", help="[2 4 8 with --quality, else 4 8]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=1000, help="of the arms in 3d")
    parser.add_argument("--only", nargs="+", choices=["dense", *ARMS], default=["dense", *ARMS])
    arguments = parser.parse_args()
    if arguments.quality:
        rows = [["", "cases", "nearest", "distance", "shape", "right where confident", "right elsewhere"]]
        for source in arguments.source:
            rows += quality(arguments.raw, SOURCES[source], arguments.every or [2, 4, 8])
        print(markdown_table(rows))
        return
    every = arguments.every or [4, 8]
    if arguments.work is None or arguments.steps < EPOCHS or not set(every) <= {4, 8}:
        parser.error(f"expected --work FOLDER, at least {EPOCHS} --steps, and --every 4 or 8.")
    work = arguments.work.resolve()
    for name in arguments.source:
        source = SOURCES[name]
        prepare(work, arguments.raw, source)
        for k in every:
            for arm in arguments.only:
                table = compare(work, source, arm, k, arguments.seeds, arguments.steps)
        print(f"{source.name}\n{table.read_text()}", flush=True)


if __name__ == "__main__":
    main()
