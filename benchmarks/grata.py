"""GraTa at test time under simulated shifts, on real scans: mean and worst case, with and without the gate.

    python benchmarks/grata.py --raw ../shared/data --work FOLDER --tune
    python benchmarks/grata.py --raw ../shared/data --work FOLDER --adapt_steps 10 --adapt_rate 1e-4 --gate 0.99
    python benchmarks/grata.py --raw ../shared/data --work FOLDER --model MODEL ...

Hippocampus, two classes: every fourth case is scored. For each seed, NNUNetBaselineTrainer learns the other 150 (Lite
plans, AdamW, fold 0). Each scored case is predicted without a shift and under each of ``nnunet_ext shift_test``, plain
and adapted; the gate is applied afterwards, to the same predictions. With --model, the validation cases of those
models are scored instead, and nothing is trained.

--tune chooses steps, rate and gate on other cases: fold 1 trains, with a seed of its own, on 112 of the 150 cases, and
the other 38 are predicted. Of what is better than no adaptation, it takes the largest mean Dice among those with which
no case loses more than 0.01, half of what is allowed; nothing of the scored cases is looked at. One process, one
thread, no mirroring in the predictions. Finished trainings and cases are not repeated.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fine_tuning import HIPPOCAMPUS, run

TRAINER, PLANS, EPOCHS = "NNUNetBaselineTrainer", "LitePlans", 10
KNOBS = "optimizer=AdamW initial_lr=3e-3 num_val_iterations_per_epoch=1"
SCORED, TUNED, TUNING_SEED = 0, 1, 100  # folds
SETTINGS = ((10, 1e-4), (10, 1e-3), (10, 1e-2))  # steps, rate
GATES = (0.999, 0.995, 0.99, 0.98, 0.95, 0.9, 0.8, 0.0)
TRAINING_STEPS = 1000
LOSS = 0.02  # that no case may exceed
Record = dict[str, Any]  # case, shift, seed, agreement, plain, adapted (mean Dice), of each class, too, factor


def folds(cases: list[str]) -> list[dict[str, list[str]]]:
    """Return the fold that is scored, and one for tuning that lies within its training cases."""
    scored = cases[::4]
    rest = [case for number, case in enumerate(cases) if number % 4]
    tuned = rest[::4]
    return [{"train": rest, "val": scored}, {"train": [case for case in rest if case not in tuned], "val": tuned}]


def prepare(work: Path, raw: Path, few: bool) -> None:
    """Link the dataset, or 8 of its cases, plan and preprocess it, and write the folds."""
    link = work / "raw" / HIPPOCAMPUS
    if not link.exists():
        cases = sorted(file.name.removesuffix(".nii.gz") for file in (raw / HIPPOCAMPUS / "labelsTr").glob("*.nii.gz"))
        used = cases[:8] if few else cases
        for case in used:
            for name in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"):
                (link / name).parent.mkdir(parents=True, exist_ok=True)
                (link / name).symlink_to((raw / HIPPOCAMPUS / name).resolve())
        description = json.loads((raw / HIPPOCAMPUS / "dataset.json").read_text()) | {"numTraining": len(used)}
        (link / "dataset.json").write_text(json.dumps(description))
    planned = work / "preprocessed" / HIPPOCAMPUS
    if not (planned / "splits_final.json").exists():
        run("nnunet_ext plan_and_preprocess -d 4 -pl LitePlanner -c 3d_fullres -np 1 -npfp 1 --no_pbar")
        cases = sorted(file.name.removesuffix(".nii.gz") for file in (link / "labelsTr").iterdir())
        (planned / "splits_final.json").write_text(json.dumps(folds(cases), indent=1))


def train(work: Path, fold: int, seed: int, steps: int) -> Path:
    """Train one model, unless that is done; return its folder."""
    name = f"Grata_{steps}_{seed}"
    if not (work / "preprocessed" / HIPPOCAMPUS / f"{name}.json").exists():
        epochs = EPOCHS if steps >= 10 * EPOCHS else 1
        knobs = f"{KNOBS} seed={seed} num_epochs={epochs} num_iterations_per_epoch={steps // epochs}"
        run(f"nnunet_ext variant -d 4 -p {PLANS} --as {name} --set {knobs}")
    model = work / "results" / HIPPOCAMPUS / f"{TRAINER}__{name}__3d_fullres"
    if not (model / f"fold_{fold}" / "checkpoint_final.pth").exists():
        more = "--c" if (model / f"fold_{fold}" / "checkpoint_latest.pth").exists() else ""
        run(f"nnunet_ext train 4 3d_fullres {fold} -tr {TRAINER} -p {name} -device cpu {more}")
    return model


def measure(
    model: Path, wanted: list[str], seed: int, setting: tuple[int, float], most: int | None, file: Path, few: bool
) -> list[Record]:
    """Predict the validation cases plain and adapted under all shifts; return a record of each prediction."""
    import torch

    from nnunet_ext.adaptation.adapted_predictor import AdaptedPredictor
    from nnunet_ext.files.json_file import write_json
    from nnunet_ext.shifts.held_out import HeldOut
    from nnunet_ext.shifts.shift import SHIFTS
    from nnunet_ext.shifts.shift_scores import mean_dice

    torch.set_num_threads(1)
    found: dict[str, list[Record]] = json.loads(file.read_text()) if file.exists() else {}
    held_out = HeldOut.find(model, wanted, most=most)
    for fold, cases in held_out.folds.items():
        steps, rate = setting
        predictor = AdaptedPredictor(model, [fold], device="cpu", mirroring=False, steps=steps, rate=rate)
        for case in cases:
            if case.name in found:
                continue
            read, records = held_out.read(case), []
            for shift in (None, *(SHIFTS[-1:] if few else SHIFTS)):
                image = read.image if shift is None else shift.of(read.image, read.spacing, case.name, read.limits)
                both = predictor._stages.both(predictor._stages.prepare_array(image, read.spacing))
                record: Record = {
                    "case": case.name,
                    "seed": seed,
                    "shift": "unshifted" if shift is None else shift.name,
                }
                record |= {"agreement": both.agreement, "factor": both.factor}
                for name, labels in (("plain", both.plain.labels), ("adapted", both.adapted.labels)):
                    dices = held_out.dices(labels, read, case.name)
                    record |= {name: mean_dice(dices), f"{name}, classes": dices}
                records.append(record)
            found[case.name] = records
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, found)
            print(f"{file.stem}: {case.name} done", flush=True)
    names = [case.name for cases in held_out.folds.values() for case in cases]
    return [record for name in names for record in found[name] if None not in (record["plain"], record["adapted"])]


def gated(record: Record, gate: float) -> float:
    """Return the Dice with a gate."""
    return float(record["adapted"] if record["agreement"] >= gate else record["plain"])


def largest_loss(records: Iterable[Record], gate: float) -> Record:
    """Return the record that loses most against its plain prediction."""
    return max(records, key=lambda record: float(record["plain"]) - gated(record, gate))


def class_loss(records: Iterable[Record], gate: float) -> float:
    """Return the largest loss of one class of one case against the plain prediction."""
    losses = [0.0]
    for record in records:
        if record["agreement"] >= gate:
            plain, adapted = record["plain, classes"], record["adapted, classes"]
            losses += [plain[name] - (adapted[name] or 0) for name in plain if plain[name] is not None]
    return max(losses)


def table(records: list[Record], gate: float) -> str:
    """Return a Markdown table of the shifts, and the line on the gate."""
    header = "| shift | plain: mean | worst | adapted: mean | worst | with gate: mean | worst | reverted"
    lines = [f"{header} | largest loss without, with gate |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    shifts = list(dict.fromkeys(record["shift"] for record in records))
    shifted = [record for record in records if record["shift"] != "unshifted"]
    for name, own in [(s, [r for r in records if r["shift"] == s]) for s in shifts] + [("all shifts", shifted)]:
        cells = [name]
        for least in (2.0, 0.0, gate):  # never, always, with the gate
            dices = [gated(record, least) for record in own]
            cells += [f"{statistics.mean(dices):.4f}", f"{min(dices):.4f}"]
        cells.append(f"{sum(record['agreement'] < gate for record in own)} of {len(own)}")
        losses = [
            record["plain"] - gated(record, least) for least in (0.0, gate) for record in [largest_loss(own, least)]
        ]
        lines.append(f"| {' | '.join([*cells, ', '.join(f'{loss:.4f}' for loss in losses)])} |")
    worst = largest_loss(records, gate)
    loss = worst["plain"] - gated(worst, gate)
    lines.append("")
    lines.append(
        f"no case loses more than {LOSS} with the gate: {'yes' if loss <= LOSS else 'NO'} (largest loss {loss:.4f}: "
        f"{worst['case']}, {worst['shift']}, seed {worst['seed']})"
    )
    least = min(records, key=lambda record: float(record["agreement"]))
    lines.append(
        f"lowest agreement: {least['agreement']:.4f} ({least['case']}, {least['shift']}, seed {least['seed']})"
    )
    lines.append(
        f"largest loss of a class: {class_loss(records, 0.0):.4f}, with the gate {class_loss(records, gate):.4f}"
    )
    factor = statistics.mean(record["factor"] for record in records)
    lines.append(f"time: {factor:.1f} times that of a plain prediction")
    return "\n".join(lines)


def choose(measured: dict[tuple[int, float], list[Record]]) -> tuple[tuple[int, float], float]:
    """Return steps, rate and gate with the largest mean Dice; if none is better than no adaptation, a gate above 1."""
    plain = statistics.mean(record["plain"] for records in measured.values() for record in records)
    best = (plain, min(measured), 2.0)
    print(f"without adaptation: mean Dice {plain:.4f}")
    for setting, gate in itertools.product(sorted(measured), GATES):
        records = measured[setting]
        mean = statistics.mean(gated(record, gate) for record in records)
        worst = largest_loss(records, gate)
        loss = worst["plain"] - gated(worst, gate)
        reverted = sum(record["agreement"] < gate for record in records)
        print(
            f"steps {setting[0]}, rate {setting[1]:g}, gate {gate}: mean Dice {mean:.4f}, largest loss {loss:.4f}, "
            f"{reverted} of {len(records)} reverted"
        )
        if loss <= LOSS / 2 and mean > best[0]:
            best = (mean, setting, gate)
    return best[1:]


def main() -> None:
    """Train and measure everything that is missing, and print the table."""
    from nnunet_ext.adaptation.adapted_stages import GATE, STEPS
    from nnunet_ext.adaptation.grata import RATE

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--model", type=Path, nargs="+", help="trained models of a dataset in --raw, instead of training"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cases", type=int, help="only so many cases of a fold")
    parser.add_argument(
        "--steps", type=int, help="a trial: so many training steps, 8 cases, one of them and one shift predicted"
    )
    parser.add_argument("--adapt_steps", type=int, default=STEPS)
    parser.add_argument("--adapt_rate", type=float, default=RATE)
    parser.add_argument("--gate", type=float, default=GATE)
    parser.add_argument("--tune", action="store_true", help="choose steps, rate and gate on cases that are not scored")
    arguments = parser.parse_args()
    work, few = arguments.work.resolve(), arguments.steps is not None
    if arguments.model is not None:
        if "nnUNet_preprocessed" not in os.environ:
            parser.error("--model: expected nnUNet_preprocessed, whose folds say which cases were trained on")
        os.environ["nnUNet_raw"] = str(arguments.raw)
        models = [(model.resolve(), number, []) for number, model in enumerate(arguments.model)]
    else:
        for name in ("raw", "preprocessed", "results"):
            os.environ[f"nnUNet_{name}"] = str(work / name)
            (work / name).mkdir(parents=True, exist_ok=True)
        os.environ |= {"nnUNet_n_proc_DA": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        prepare(work, arguments.raw, few)
        fold, seeds = (TUNED, [TUNING_SEED]) if arguments.tune else (SCORED, arguments.seeds)
        steps = arguments.steps or TRAINING_STEPS
        models = [(train(work, fold, seed, steps), seed, [str(fold)]) for seed in seeds]
    most = 1 if few else arguments.cases
    measured: dict[tuple[int, float], list[Record]] = {}
    chosen = (arguments.adapt_steps, arguments.adapt_rate)
    for setting in ([(1, 1e-4)] if few else SETTINGS) if arguments.tune else [chosen]:
        for model, seed, wanted in models:
            kind = "tune" if arguments.tune else "scored"
            name = f"{kind}_{model.parent.name}_{model.name}_{setting[0]}_{setting[1]:g}"
            file = work / "records" / f"{name}.json"
            measured.setdefault(setting, []).extend(measure(model, wanted, seed, setting, most, file, few))
    if arguments.tune:
        (steps, rate), gate = choose(measured)
        print(f"chosen: --adapt_steps {steps} --adapt_rate {rate:g} --gate {gate}")
    else:
        print(table(measured[chosen], arguments.gate))


if __name__ == "__main__":
    main()
