"""Self-training against nnU-Net and BCP with few labels, on real scans, with equal computing time.

    python benchmarks/self_training.py --raw ../shared/data --work FOLDER --data atrium --labelled 4
    python benchmarks/self_training.py --raw ../shared/data --work FOLDER --data atrium --labelled 8
    python benchmarks/self_training.py --raw ../shared/data --work FOLDER --data hippocampus --labelled 10

Left atrium at 2.5 mm: the first cases of its list are labelled, the last 16 scored, the others of its first 64
unlabelled. Hippocampus, two classes: every fifth case is scored, some of the others are labelled, the same for all
seeds. Lite plans, AdamW, fold all, last checkpoint. With --search the hidden labels of the unlabelled cases are scored,
and the scored cases are not looked at: to choose knobs, with seeds that are not reported.

One process, one thread, augmentation included. Steps of all kinds are timed in turn, and the prediction of the
unlabelled cases; from that each arm gets the number of steps that fills --minutes of CPU time. Validation, figures and
checkpoints of the epochs come on top and are the same for all arms. The CPU seconds of each whole training, as the
operating system counts them, are in the table. Finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

HIPPOCAMPUS, ATRIUM = "Dataset004_Hippocampus", "Dataset020_LeftAtrium"
SOURCES = {"atrium": ATRIUM, "hippocampus": HIPPOCAMPUS}
EPOCHS = 40
SELF, OWN = "SelfTrainingTrainer", "self_training"
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "nnU-Net": ("NNUNetBaselineTrainer", {}),
    "BCP": ("BCPTrainer", {"bcp": {"warm_up": 0.5}}),
    "one round": (SELF, {OWN: {"rounds": 1, "selection": [], "mixing_share": 0}}),
    "rounds": (SELF, {OWN: {"selection": [], "mixing_share": 0}}),
    "rounds, selection": (SELF, {OWN: {"mixing_share": 0}}),
    "rounds, mixing": (SELF, {OWN: {"selection": []}}),
    "rounds, mixing, no mirroring": (SELF, {OWN: {"selection": [], "mirroring": False}}),
    "rounds, mixing, selection": (SELF, {OWN: {}}),
    "rounds, mixing, selection, fine-tuning": (SELF, {OWN: {"fine_tune_share": 0.1}}),
}
KNOBS = {"optimizer": "AdamW", "initial_lr": 3e-3, "num_val_iterations_per_epoch": 1}


def run(line: str) -> None:
    """Run a command; its output goes to the log of this benchmark."""
    print(f"$ {line}", flush=True)
    subprocess.run(shlex.split(line), check=True)


def parts_of(data: str, source: Path, labelled: int, few: bool) -> dict[str, list[str]]:
    """Return the labelled and the scored cases, and with ``few`` only three others, for a trial."""
    if data == "atrium":
        order = (source / "labelled_first.txt").read_text().split()
        parts = {"labelled": order[:labelled], "test": order[-16:], "unlabelled": order[labelled:64]}
    else:
        cases = sorted(file.name.removesuffix(".nii.gz") for file in (source / "labelsTr").glob("*.nii.gz"))
        rest = [case for number, case in enumerate(cases) if number % 5]
        order = [rest[number] for number in np.random.default_rng(0).permutation(len(rest))]
        parts = {"labelled": order[:labelled], "test": cases[::5], "unlabelled": order[labelled:]}
    return {name: cases if name == "labelled" or not few else cases[:3] for name, cases in parts.items()}


def prepare(work: Path, raw: Path, data: str, labelled: int, few: bool) -> str:
    """Hide labels, plan and preprocess; return the dataset's number."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
        (work / name).mkdir(parents=True, exist_ok=True)
    source, number = raw / SOURCES[data], f"{900 + labelled + 50 * few}"
    link = work / "raw" / SOURCES[data]
    parts = parts_of(data, source, labelled, few)
    used = [case for cases in parts.values() for case in cases]
    if few and not link.exists():  # only the cases of the trial
        for case in used:
            for file in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"):
                (link / file).parent.mkdir(parents=True, exist_ok=True)
                (link / file).symlink_to((source / file).resolve())
        description = json.loads((source / "dataset.json").read_text()) | {"numTraining": len(used)}
        (link / "dataset.json").write_text(json.dumps(description))
    elif not link.exists():
        link.symlink_to(source.resolve())
    if not any((work / "raw").glob(f"Dataset{number}_*")):
        for name in ("labelled", "test"):
            (work / f"{number}_{name}.txt").write_text("".join(f"{case}\n" for case in parts[name]))
        files = " ".join(f"--{name} {work / f'{number}_{name}.txt'}" for name in ("labelled", "test"))
        run(f"nnunet_ext hide_labels -d {int(SOURCES[data][7:10])} -o {number} {files}")
    (dataset,) = (work / "raw").glob(f"Dataset{number}_*")
    if not (work / "preprocessed" / dataset.name / "done").exists():
        spacing = "-overwrite_target_spacing 2.5 2.5 2.5 -overwrite_plans_name LitePlans" if data == "atrium" else ""
        run(f"nnunet_ext plan_and_preprocess -d {number} -pl LitePlanner -c 3d_fullres {spacing}")
        (work / "preprocessed" / dataset.name / "done").touch()
    return number


def folder(number: str, variable: str) -> Path:
    """Return the dataset's folder."""
    (found,) = Path(os.environ[variable]).glob(f"Dataset{number}_*")
    return found


def make(number: str, name: str, knobs: dict[str, Any]) -> dict[str, Any]:
    """Write plans with these knobs; return them."""
    planned = folder(number, "nnUNet_preprocessed")
    plans = json.loads((planned / "LitePlans.json").read_text()) | {"plans_name": name, "nnunet_ext": KNOBS | knobs}
    (planned / f"{name}.json").write_text(json.dumps(plans))
    return plans


def time_steps(work: Path, number: str, pairs: int = 15) -> dict[str, float]:
    """Return CPU seconds of a step of each kind (medians, in turn) and of predicting all unlabelled cases."""
    file = work / f"seconds_{number}.json"
    if file.exists():
        found: dict[str, float] = json.loads(file.read_text())
        return found
    import torch

    from nnunet_ext.sockets import load

    torch.set_num_threads(1)
    trainers: dict[str, Any] = {}
    description = json.loads((folder(number, "nnUNet_preprocessed") / "dataset.json").read_text())
    for arm in ("nnU-Net", "BCP", "rounds, mixing"):
        trainer, knobs = ARMS[arm]
        plans = make(number, f"Timed{trainer}", knobs | {"num_epochs": EPOCHS, "seed": 0})
        given = plans | {"continue_training": False}
        trainers[arm] = load("trainers", trainer)(given, "3d_fullres", "all", description, device=torch.device("cpu"))
        trainers[arm].on_train_start()
        trainers[arm].network.train()
    last = trainers["rounds, mixing"]
    last.current_epoch = last.part_starts[0]
    seconds: dict[str, float] = {}
    for name, mirroring in (("without mirroring", False), ("prediction", True)):
        last.knobs[OWN]["mirroring"] = mirroring
        start = time.process_time()
        last._renew_pseudo_labels()
        seconds[name] = time.process_time() - start
    late = 10**6  # after the warm-up
    kinds = {"nnU-Net": ("nnU-Net", 0), "warm-up": ("BCP", 0), "BCP": ("BCP", late), "both": ("rounds, mixing", late)}
    measured: dict[str, list[float]] = {kind: [] for kind in kinds}
    for pair in range(pairs + 2):
        for kind, (arm, step) in kinds.items():
            trainer = trainers[arm]
            trainer.network.train()
            start = time.process_time()
            batch = next(trainer.dataloader_train)
            trainer.train_step(batch | {"step": step + pair})
            if pair > 1:
                measured[kind].append(time.process_time() - start)
    seconds |= {kind: statistics.median(values) for kind, values in measured.items()}
    print("CPU seconds of a step, and of a prediction:", seconds, flush=True)
    file.write_text(json.dumps(seconds))
    return seconds


def steps_of(arm: str, seconds: dict[str, float], total: float) -> int:
    """Return the steps of an epoch that fill so many CPU seconds, with the predictions."""
    from nnunet_ext.base.method import methods
    from nnunet_ext.methods.self_training.parts import share_epochs

    trainer, knobs = ARMS[arm]
    if trainer == "NNUNetBaselineTrainer":
        return round(total / EPOCHS / seconds["nnU-Net"])
    if trainer == "BCPTrainer":
        warm_up = knobs["bcp"]["warm_up"]
        return round(total / EPOCHS / (warm_up * seconds["warm-up"] + (1 - warm_up) * seconds["BCP"]))
    own = {knob.name: knob.default for knob in methods()[OWN].knobs} | knobs[OWN]
    parts = share_epochs(EPOCHS, own["supervised_share"], own["rounds"], own["fine_tune_share"])
    both = sum(parts.rounds)
    predictions = own["rounds"] + bool(own["selection"])
    total -= predictions * seconds["prediction" if own["mirroring"] else "without mirroring"]
    steps = round(total / ((EPOCHS - both) * seconds["nnU-Net"] + both * seconds["both"]))
    if steps < 1:
        raise SystemExit(f"{arm}: predicting takes longer than --minutes. Raise it.")
    return steps


def plans_of(arm: str, seed: int, length: str) -> str:
    """Name the plans of a run."""
    return f"{arm.replace(', ', '_').replace(' ', '_')}_{length}_{seed}"


def do(number: str, arm: str, seed: int, length: str, knobs: dict[str, Any], key: str) -> dict[str, Any]:
    """Train, predict and score one run, unless that is done; return its record."""
    from nnunet_ext.comparison.scored_cases import ScoredCases
    from nnunet_ext.comparison.scoring import score

    trainer, own = ARMS[arm]
    name = plans_of(arm, seed, length)
    results = Path(os.environ["nnUNet_results"]) / folder(number, "nnUNet_raw").name
    file = results / "records" / f"{name}_{key}.json"
    if file.exists():
        record: dict[str, Any] = json.loads(file.read_text())
        return record
    fold = results / f"{trainer}__{name}__3d_fullres" / "fold_all"
    trained = fold / "cpu_seconds.json"
    model = f"-tr {trainer} -p {name} -device cpu"
    if not trained.exists():
        shutil.rmtree(fold, ignore_errors=True)  # of a run that was killed: its time is not known
        make(number, name, knobs | own | {"seed": seed})
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
        run(f"nnunet_ext train {number} 3d_fullres all {model}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        trained.write_text(json.dumps({"cpu_seconds": spent, "wall_seconds": time.time() - start}))
    plans = json.loads((folder(number, "nnUNet_preprocessed") / f"{name}.json").read_text())
    scored = ScoredCases.find(number, key, None, None)
    images, predictions = results / f"images_{key}", results / f"predictions_{key}" / name
    scored.link_images(images)
    run(f"nnunet_ext predict -i {images} -o {predictions} -d {number} -c 3d_fullres -f all {model} -npp 0 -nps 0 "
        f"--no_check")  # fmt: skip
    pairs = [(case.name, predictions / f"{case.name}{scored.ending}", case.label) for case in scored.cases]
    record = {"arm": arm, "seed": seed, "knobs": plans["nnunet_ext"], **json.loads(trained.read_text())}
    record["cases"] = score([pair for pair in pairs if pair[2] is not None], scored, plans)  # type: ignore[misc]
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(record, indent=1))
    return record


def mean_of(record: dict[str, Any], measure: str) -> list[float]:
    """Return a measure's mean over the classes, of each case."""
    cases = [[value[measure] for value in classes.values()] for classes in record["cases"].values()]
    known = [[value for value in values if value is not None] for values in cases]
    return [statistics.mean(values) for values in known if values]


def table(records: dict[str, list[dict[str, Any]]]) -> str:
    """Return a Markdown table: an arm a row, its seeds in order, mean and standard deviation over them."""
    lines = ["| arm | steps | CPU s of each run | Dice of each seed | mean ± spread | worst case | HD95, mm | mean |"]
    lines.append("|---|---:|---|---|---:|---|---|---:|")
    for arm, runs in records.items():
        dice = [statistics.mean(mean_of(record, "dice")) for record in runs]
        distances = [statistics.mean(mean_of(record, "hd95_mm")) for record in runs]
        spread = statistics.stdev(dice) if len(dice) > 1 else 0.0
        steps = runs[0]["knobs"]["num_epochs"] * runs[0]["knobs"]["num_iterations_per_epoch"]
        cells = [
            arm,
            str(steps),
            ", ".join(f"{record['cpu_seconds']:.0f}" for record in runs),
            ", ".join(f"{value:.3f}" for value in dice),
            f"{statistics.mean(dice):.3f} ± {spread:.3f}",
            ", ".join(f"{min(mean_of(record, 'dice')):.3f}" for record in runs),
            ", ".join(f"{value:.1f}" for value in distances),
            f"{statistics.mean(distances):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train everything that is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", choices=SOURCES, required=True)
    parser.add_argument("--labelled", type=int, required=True)
    parser.add_argument("--minutes", type=float, default=6, help="CPU minutes of the steps and predictions of a run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--search", action="store_true", help="score the hidden labels, not the scored cases")
    parser.add_argument("--steps", type=int, help="a trial: so many epochs of one step, few cases, nothing timed")
    arguments = parser.parse_args()
    os.environ |= {"nnUNet_n_proc_DA": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    few = arguments.steps is not None
    number = prepare(arguments.work.resolve(), arguments.raw, arguments.data, arguments.labelled, few)
    os.environ["nnUNet_n_proc_DA"] = "0"  # batches are made in the training's own process
    seconds = {} if few else time_steps(arguments.work.resolve(), number)
    length, key = "trial" if few else f"{arguments.minutes:g}min", "hidden_labels" if arguments.search else "test"
    records: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arguments.only}
    for seed in arguments.seeds:
        for arm in arguments.only:
            steps = 1 if few else steps_of(arm, seconds, 60 * arguments.minutes)
            knobs = {"num_epochs": arguments.steps or EPOCHS, "num_iterations_per_epoch": steps}
            records[arm].append(do(number, arm, seed, length, knobs, key))
            last = records[arm][-1]
            print(f"{arm}, seed {seed}: Dice {statistics.mean(mean_of(last, 'dice')):.4f}, "
                  f"{last['cpu_seconds']:.0f} CPU s", flush=True)  # fmt: skip
    print(table(records))


if __name__ == "__main__":
    main()
