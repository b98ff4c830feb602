"""Pre-training on unlabelled images against nnU-Net with few labels, on real scans, with equal computing time.

    python benchmarks/pretraining.py --raw ../shared/data --work FOLDER --search
    python benchmarks/pretraining.py --raw ../shared/data --work FOLDER --seeds 0 1

Left atrium at 2.5 mm: 8 labelled cases, 56 unlabelled, 16 scored. Lite plans, AdamW, all labelled cases, last
checkpoint. (nnU-Net's own validation is of one case that is trained on: it takes time, and nobody reads it.) A
pre-training (MaskedAutoencoderTrainer) has the computing time of --pretraining steps of nnU-Net, and starts a
fine-tuning of each length of --curve: separate trainings, each with its own decay of the learning rate. nnU-Net from
scratch has as many steps as the fine-tuning, and in a second arm those of the pre-training, too: the same time in all.
In the arms of half the time, each fine-tuning has a pre-training of its own that takes as long as it does. Fine-tunings
warm up, and so does one arm from scratch.

The comparison that decides is "pre-trained" against "nnU-Net, the same time"; the other arms say why. Controls: images
whose voxels were shuffled (the same steps, nothing to learn from them but the first layers' scale), images of another
organ (hippocampus, 1 mm), the encoder alone, blocks of 8 mm, half of the blocks hidden. The first attempt pre-trained
with the rate of the lowest masked error, 0.01, and its seed 0 was behind nnU-Net with the steps of the fine-tuning: its
weights had become three times as large as without pre-training. Under instance norm their size changes no output, and
a step of AdamW turns large weights less. Hence 0.001, which keeps their usual size; the first attempt is an arm, too.

--search looks at pre-trainings alone, with a seed of its own and without any label: masked errors for several lengths
and learning rates.

One process, one thread, augmentation included. Steps of both kinds are timed in turn (their mean). The CPU seconds of
each whole training, as the operating system counts them, are in the table, and in brackets the worst case, as a mean
over seeds. The second table has the masked errors of the pre-trainings, on images held out from them. Finished runs are
not repeated; with other knobs in this file, take another folder. One process at a time works in a folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from self_training import ATRIUM, HIPPOCAMPUS, folder, make, mean_of, parts_of, prepare, run

EPOCHS = 25  # of segmentations: two of them warm up
PRETRAINING_EPOCHS = 10
LABELLED = 8
SHUFFLED, OTHER_ORGAN = "Shuffled", "Hippocampus"
SEGMENTS, RESTORES, OWN = "NNUNetBaselineTrainer", "MaskedAutoencoderTrainer", "masked_autoencoder"
FOLDS = {SEGMENTS: "0", RESTORES: "all"}
SEARCH_SEED, SEARCH_RATES, SEARCH_LENGTHS = 100, (1e-2, 3e-3, 1e-3), (1000, 3000)
VALIDATION = {"num_val_iterations_per_epoch": 10}  # of pre-trainings, on top of their time
RATE = 1e-3  # of pre-trainings


class Arm(NamedTuple):
    """A way to train.

    Args:
        pretraining: Its name, None without one.
        knobs: Of the segmentation.
        times: Its steps, in those of the fine-tuning.
        further: Its further steps, in those of --pretraining.
        alike: The pre-training takes as long as the fine-tuning.
    """

    pretraining: str | None = None
    knobs: dict[str, Any] = {}  # noqa: RUF012
    times: int = 1
    further: int = 0
    alike: bool = False


WARM = {"warm_up": 0.08}
PRETRAININGS: dict[str, tuple[str | None, dict[str, Any]]] = {  # its dataset, None: that of the labels; its knobs
    "restoring": (None, {}),
    "ratio 0.5": (None, {OWN: {"ratio": 0.5}}),
    "blocks of 8 mm": (None, {OWN: {"block_mm": 8}}),
    "rate 0.01": (None, {"initial_lr": 1e-2}),
    "shuffled voxels": (SHUFFLED, {}),
    "hippocampus": (OTHER_ORGAN, {}),
}
ARMS = {
    "nnU-Net": Arm(),
    "nnU-Net, the same time": Arm(further=1),
    "nnU-Net, the same time, warm-up": Arm(knobs=WARM, further=1),
    "pre-trained": Arm("restoring", WARM),
    "pre-trained, encoder alone": Arm("restoring", WARM | {"fine_tune": {"transfer": "encoder"}}),
    "pre-trained, a third of the rate": Arm("restoring", WARM | {"initial_lr": 1e-3}),
    **{f"pre-trained, {name}": Arm(name, WARM) for name in PRETRAININGS if name != "restoring"},
    "nnU-Net, twice the steps": Arm(times=2),
    "pre-trained, half of the time": Arm("restoring", WARM, alike=True),
}


def shuffle(source: Path, cases: Sequence[str], place: Path) -> None:
    """Write images of 2.5 mm (the mean of eight voxels) in which all voxels but zeros have changed places."""
    import nibabel

    for name in ("imagesTr", "labelsTr"):
        (place / name).mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases):
        image = nibabel.load(source / "imagesTr" / f"{case}_0000.nii.gz")
        voxels = np.asarray(image.dataobj, np.float32)
        halves = [size // 2 for size in voxels.shape]
        voxels = voxels[tuple(slice(2 * size) for size in halves)]
        voxels = voxels.reshape(halves[0], 2, halves[1], 2, halves[2], 2).mean((1, 3, 5))
        filled = voxels != 0
        voxels[filled] = np.random.default_rng(number).permutation(voxels[filled])
        affine = image.affine @ np.diag([2, 2, 2, 1])
        nibabel.save(nibabel.Nifti1Image(voxels, affine), place / "imagesTr" / f"{case}_0000.nii.gz")
        blank = nibabel.Nifti1Image(np.zeros(voxels.shape, np.uint8), affine)
        nibabel.save(blank, place / "labelsTr" / f"{case}.nii.gz")
    described = json.loads((source / "dataset.json").read_text()) | {"numTraining": len(cases)}
    (place / "dataset.json").write_text(json.dumps(described))


def prepare_other(work: Path, raw: Path, number: str, kind: str, few: bool) -> str:
    """Preprocess other images with the plans of the left atrium; return the number of their dataset."""
    name = f"Dataset{(970 if kind == SHUFFLED else 971) + 20 * few}_{kind}"
    there, planned = work / "raw" / name, work / "preprocessed" / name
    if not (planned / "done").exists():
        shutil.rmtree(there, ignore_errors=True)
        if kind == SHUFFLED:
            parts = parts_of("atrium", raw / ATRIUM, LABELLED, few)
            shuffle(raw / ATRIUM, [*parts["labelled"], *parts["unlabelled"]], there)
        else:
            cases = sorted(file.name.removesuffix(".nii.gz") for file in (raw / HIPPOCAMPUS / "labelsTr").glob("*.gz"))
            cases = cases[:3] if few else cases
            for case in cases:
                for file in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"):
                    (there / file).parent.mkdir(parents=True, exist_ok=True)
                    (there / file).symlink_to((raw / HIPPOCAMPUS / file).resolve())
            described = json.loads((raw / HIPPOCAMPUS / "dataset.json").read_text()) | {"numTraining": len(cases)}
            (there / "dataset.json").write_text(json.dumps(described))
        planned.mkdir(parents=True, exist_ok=True)
        of_atrium = folder(number, "nnUNet_preprocessed")
        plans = json.loads((of_atrium / "LitePlans.json").read_text()) | {"dataset_name": name}
        if kind == OTHER_ORGAN:
            plans["configurations"]["3d_fullres"]["spacing"] = [1.0, 1.0, 1.0]
        (planned / "LitePlans.json").write_text(json.dumps(plans))
        shutil.copy(there / "dataset.json", planned / "dataset.json")
        shutil.copy(of_atrium / "dataset_fingerprint.json", planned / "dataset_fingerprint.json")
        run(f"nnunet_ext preprocess -d {name[7:10]} -p LitePlans -c 3d_fullres -np 1 --no_check")
        (planned / "done").touch()
    return name[7:10]


def time_steps(work: Path, number: str, pairs: int = 60) -> dict[str, float]:
    """Return CPU seconds of a step of a segmentation and of a pre-training: means, in turn."""
    file = work / f"seconds_pretraining_{number}.json"
    if file.exists():
        found: dict[str, float] = json.loads(file.read_text())
        return found
    import torch

    from nnunet_ext.sockets import load

    torch.set_num_threads(1)
    trainers: dict[str, Any] = {}
    description = json.loads((folder(number, "nnUNet_preprocessed") / "dataset.json").read_text())
    for name in (SEGMENTS, RESTORES):
        plans = make(number, f"TimedPretraining{name}", {"num_epochs": EPOCHS, "seed": 0}) | {
            "continue_training": False
        }
        trainers[name] = load("trainers", name)(plans, "3d_fullres", "all", description, device=torch.device("cpu"))
        trainers[name].on_train_start()
    measured: dict[str, list[float]] = {name: [] for name in trainers}
    for pair in range(pairs + 2):
        for name, trainer in trainers.items():
            trainer.network.train()
            start = time.process_time()
            trainer.train_step(next(trainer.dataloader_train))
            if pair > 1:
                measured[name].append(time.process_time() - start)
    seconds = {name: statistics.mean(values) for name, values in measured.items()}
    print("CPU seconds of a step:", seconds, flush=True)
    file.write_text(json.dumps(seconds))
    return seconds


def steps_of(arm: Arm, length: int, pretraining: int, ratio: float) -> tuple[int, int]:
    """Return the steps of the pre-training and of the segmentation.

    Args:
        arm: The arm.
        length: Steps of a fine-tuning.
        pretraining: --pretraining, in steps of nnU-Net.
        ratio: Time of a step of a pre-training, in such steps.
    """
    before = round((length if arm.alike else pretraining) / ratio) if arm.pretraining else 0
    return before, arm.times * length + arm.further * pretraining


def first_like(name: str) -> str:
    """Return the first arm that differs from this one at most in its steps: their runs of equal steps are the same."""
    return next(other for other, arm in ARMS.items() if arm[:2] == ARMS[name][:2])


def train(number: str, trainer: str, name: str, steps: int, knobs: dict[str, Any]) -> Path:
    """Train, unless that is done; return the fold's folder."""
    fold = Path(os.environ["nnUNet_results"]) / folder(number, "nnUNet_raw").name / f"{trainer}__{name}__3d_fullres"
    fold /= f"fold_{FOLDS[trainer]}"
    if not (fold / "cpu_seconds.json").exists():
        shutil.rmtree(fold, ignore_errors=True)  # of a run that was killed: its time is not known
        epochs = min(EPOCHS if trainer == SEGMENTS else PRETRAINING_EPOCHS, steps)
        make(number, name, {"num_epochs": epochs, "num_iterations_per_epoch": round(steps / epochs)} | knobs)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(f"nnunet_ext train {number} 3d_fullres {FOLDS[trainer]} -tr {trainer} -p {name} -device cpu")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        (fold / "cpu_seconds.json").write_text(json.dumps(spent))
    return fold


def plans_of(*words: object) -> str:
    """Name the plans of a run."""
    return "_".join(str(word).replace(", ", "_").replace(" ", "_").replace(".", "p") for word in words)


def pretrain(work: Path, raw: Path, number: str, name: str, seed: int, steps: int, few: bool) -> Path:
    """Pre-train, unless that is done; return the fold's folder."""
    other, knobs = PRETRAININGS[name]
    of_images = number if other is None else prepare_other(work, raw, number, other, few)
    knobs = {"initial_lr": RATE, "seed": seed} | VALIDATION | knobs
    return train(of_images, RESTORES, plans_of("Pre", name, steps, seed), steps, knobs)


def search(number: str, lengths: Sequence[int]) -> dict[tuple[str, int, int], Path]:
    """Pre-train with several rates and numbers of steps; return the folds by rate, seed and steps."""
    folds = {}
    for rate in SEARCH_RATES:
        for steps in lengths:
            knobs = {"initial_lr": rate, "seed": SEARCH_SEED} | VALIDATION
            name = plans_of("Search", rate, steps)
            folds[f"rate {rate}", SEARCH_SEED, steps] = train(number, RESTORES, name, steps, knobs)
    return folds


def do(number: str, name: str, before: int, seed: int, steps: int, source: Path | None, few: bool) -> dict[str, Any]:
    """Train, predict and score one run, unless that is done; return its record."""
    from nnunet_ext.comparison.scored_cases import ScoredCases
    from nnunet_ext.comparison.scoring import score

    results = Path(os.environ["nnUNet_results"]) / folder(number, "nnUNet_raw").name
    plans_name = plans_of(first_like(name), before, steps, seed)
    file = results / "records" / f"{plans_name}{'_trial' * few}.json"
    if file.exists():
        record: dict[str, Any] = json.loads(file.read_text())
        return record
    given = {} if source is None else {"init_from": str(source / "checkpoint_final.pth")}
    fold = train(number, SEGMENTS, plans_name, steps, ARMS[name].knobs | given | {"seed": seed})
    plans = json.loads((folder(number, "nnUNet_preprocessed") / f"{plans_name}.json").read_text())
    scored = ScoredCases.find(number, "test", None, None)
    images, predictions = results / "images_test", results / "predictions_test" / plans_name
    scored.link_images(images)
    run(f"nnunet_ext predict -i {images} -o {predictions} -d {number} -c 3d_fullres -f 0 -tr {SEGMENTS} "
        f"-p {plans_name} -device cpu -npp 0 -nps 0 --no_check")  # fmt: skip
    pairs = [(case.name, predictions / f"{case.name}{scored.ending}", case.label) for case in scored.cases]
    record = {"arm": first_like(name), "seed": seed, "pretraining": before, "steps": steps}
    record["cpu_seconds"] = json.loads((fold / "cpu_seconds.json").read_text())
    record["pretraining_cpu_seconds"] = 0 if source is None else json.loads((source / "cpu_seconds.json").read_text())
    record["cases"] = score([pair for pair in pairs if pair[2] is not None], scored, plans)  # type: ignore[misc]
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(record, indent=1))
    return record


def table(records: dict[tuple[str, int], list[dict[str, Any]]], curve: Sequence[int]) -> str:
    """Return a Markdown table: an arm a row, a length a column: Dice of each seed, mean, deviation, mean worst case."""
    lines = ["| arm | " + " | ".join(f"{length} steps | CPU s" for length in curve) + " |"]
    lines.append("|---|" + "---|---:|" * len(curve))
    for arm in dict.fromkeys(arm for arm, _ in records):
        cells = [arm]
        for length in curve:
            runs = records[arm, length]
            dice = [statistics.mean(mean_of(record, "dice")) for record in runs]
            spread = statistics.stdev(dice) if len(dice) > 1 else 0.0
            each = ", ".join(f"{value:.3f}" for value in dice)
            worst = statistics.mean(min(mean_of(record, "dice")) for record in runs)
            cells.append(f"{each}: {statistics.mean(dice):.3f} ± {spread:.3f} ({worst:.2f})")
            seconds = [record["cpu_seconds"] + record["pretraining_cpu_seconds"] for record in runs]
            cells.append(f"{statistics.mean(seconds):.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def table_of_errors(folds: dict[tuple[str, int, int], Path]) -> str:
    """Return a Markdown table of the masked errors of all pre-trainings, by name, seed and steps."""
    lines = ["| pre-training | seed | steps | masked error | blurring | constant | more than blurring |"]
    lines.append("|---|---:|---:|---:|---:|---:|---|")
    for (name, seed, steps), fold in folds.items():
        found = json.loads((fold / "validation" / "summary.json").read_text())
        errors = " | ".join(f"{found[key]:.3f}" for key in ("masked_error", "blurring", "constant"))
        verdict = "yes" if found["learnt_more_than_blurring"] else "no"
        lines.append(f"| {name} | {seed} | {steps} | {errors} | {verdict} |")
    return "\n".join(lines)


def main() -> None:
    """Train everything that is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--curve", type=int, nargs="+", default=[100, 250, 500, 1000], help="steps of fine-tunings")
    parser.add_argument("--pretraining", type=int, default=1000, help="time of a pre-training, in steps of nnU-Net")
    parser.add_argument("--only", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--search", action="store_true", help="pre-train alone, for several lengths and learning rates")
    parser.add_argument("--steps", type=int, help="a trial: all trainings have so many, few cases, nothing timed")
    arguments = parser.parse_args()
    os.environ |= {"nnUNet_n_proc_DA": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    few = arguments.steps is not None
    work, raw = arguments.work.resolve(), arguments.raw.resolve()
    number = prepare(work, raw, "atrium", LABELLED, few)
    labelled = sorted(parts_of("atrium", raw / ATRIUM, LABELLED, few)["labelled"])
    splits = json.dumps([{"train": labelled, "val": labelled[:1]}])
    (folder(number, "nnUNet_preprocessed") / "splits_final.json").write_text(splits)
    os.environ["nnUNet_n_proc_DA"] = "0"  # batches are made in the training's own process
    ratio, curve, pretraining = 1.0, arguments.curve, arguments.pretraining
    if few:
        curve, pretraining = [arguments.steps], arguments.steps
    else:
        seconds = time_steps(work, number)
        ratio = seconds[RESTORES] / seconds[SEGMENTS]
    if arguments.search:
        print(table_of_errors(search(number, [round(length / ratio) for length in SEARCH_LENGTHS])))
        return
    records: dict[tuple[str, int], list[dict[str, Any]]] = {}
    folds: dict[tuple[str, int, int], Path] = {}
    for seed in arguments.seeds:
        for name in arguments.only:
            arm = ARMS[name]
            for length in curve:
                before, steps = steps_of(arm, length, pretraining, ratio)
                source = None
                if arm.pretraining is not None:
                    source = pretrain(work, raw, number, arm.pretraining, seed, before, few)
                    folds[arm.pretraining, seed, before] = source
                record = do(number, name, before, seed, steps, source, few)
                records.setdefault((name, length), []).append(record)
                dice = statistics.mean(mean_of(record, "dice"))
                print(f"{name}, {length} steps, seed {seed}: Dice {dice:.4f}", flush=True)
    print(table(records, curve))
    print()
    print(table_of_errors(folds))


if __name__ == "__main__":
    main()
