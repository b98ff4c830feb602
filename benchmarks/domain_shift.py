"""Domain randomisation under simulated shifts, on real scans, with equal computing time.

    python benchmarks/domain_shift.py --raw ../shared/data --work FOLDER

All arms train on three of four cases of the hippocampus; every fourth case is held out, and predicted as it is and
under the shifts of ``nnunet_ext shift_test`` (without mirroring): gamma, bias field, Rician noise, blur, resolution and
inversion, each at two fixed strengths. No arm trains on one of them on purpose, so the histogram arm has no inversion;
but nnU-Net's augmentation has weaker noise, blur, gamma and low resolution (up to 2, the weaker strength); DA5's blurs
up to 1.5 voxels, down-samples up to 4 times, adds brightness gradients and changes gamma locally, from 0.01 to 4, so it
has seen blur 1.2, both resolutions and something like gamma and the bias field; the histogram's random maps are often
near to one of the gammas; and of GIN's maps, about one in eight of all training samples is correlated negatively with
its image, so GIN has seen contrast that is partly inverted. Inversion is most of the drop: the third table has shares
without it. Nothing is chosen on the held-out cases: last checkpoint, the knobs' defaults.

Every arm gets the computing time of --steps steps of nnU-Net, by the CPU seconds of its steps with their batches
(augmentation in the same process), means over --timed steps of each arm in turn; validation is not counted. DA5 is
nnU-Net's nnUNetTrainerDA5 with the knobs of nnunet_ext. Finished runs and predictions are not repeated. At the end,
three tables: Dice without a shift, what it costs there and under the shifts; Dice under each shift; and for each seed
the share of nnU-Net's drop that is left, under all shifts and without inversion, and the drop under each kind of shift.
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

from nnunet_ext.files.json_file import write_json
from nnunet_ext.shifts.shift_scores import ShiftScores, shift_scores

SOURCE, DATASET = "Dataset004_Hippocampus", "Dataset945_HippocampusShift"
EPOCHS, PLANS, EVERY = 10, "LitePlans", 4
KNOBS = "optimizer=AdamW initial_lr=3e-3 num_val_iterations_per_epoch=5"
CONTROL, DA5 = "NNUNetBaselineTrainer", "NNUNetDA5Trainer"
FEATURES = "domain_randomisation.image=none domain_randomisation.features"
RANDOMISED = "DomainRandomisationTrainer"
ARMS = {
    "nnU-Net": (CONTROL, ""),
    "DA5": (DA5, ""),
    "histogram": (RANDOMISED, "domain_randomisation.image=histogram domain_randomisation.inversion=0"),
    "gin": (RANDOMISED, "domain_randomisation.image=gin"),
    "trid, paper": (RANDOMISED, f"{FEATURES}=trid domain_randomisation.range=[0,1]"),
    "trid": (RANDOMISED, f"{FEATURES}=trid"),
    "trid, no skip": (RANDOMISED, f"{FEATURES}=trid domain_randomisation.skip=false"),
    "mixstyle": (RANDOMISED, f"{FEATURES}=mixstyle"),
    "efdmix": (RANDOMISED, f"{FEATURES}=efdmix"),
}
OF_DA5 = """from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5

from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer


class NNUNetDA5Trainer(NNUNetBaselineTrainer, nnUNetTrainerDA5):
    pass
"""


def run(line: str) -> None:
    """Run a command; its output goes to the log of this benchmark."""
    print(f"$ {line}", flush=True)
    subprocess.run(shlex.split(line), check=True)


def prepare(work: Path, raw: Path, cases: int | None) -> None:
    """Set nnU-Net's folders, link the cases, plan, write the fold and the trainer with DA5's augmentation."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
        (work / name).mkdir(parents=True, exist_ok=True)
    (work / "trainers").mkdir(exist_ok=True)
    (work / "trainers" / f"{DA5}.py").write_text(OF_DA5)
    os.environ["nnUNet_extTrainer"] = str(work / "trainers")
    os.environ["nnUNet_n_proc_DA"] = "1"  # planning needs one
    place, planned = work / "raw" / DATASET, work / "preprocessed" / DATASET
    names = sorted(file.name.removesuffix(".nii.gz") for file in (raw / SOURCE / "labelsTr").glob("*.nii.gz"))[:cases]
    for case in names:
        for file in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"):
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            if not (place / file).exists():
                (place / file).symlink_to((raw / SOURCE / file).resolve())
    description = json.loads((raw / SOURCE / "dataset.json").read_text())
    write_json(place / "dataset.json", description | {"numTraining": len(names)})
    if not (planned / "done").exists():
        run(f"nnunet_ext plan_and_preprocess -d {DATASET[7:10]} -pl LitePlanner -c 3d_fullres --no_pbar --set {KNOBS}")
    fold = {"train": [case for n, case in enumerate(names) if n % EVERY], "val": names[::EVERY]}
    write_json(planned / "splits_final.json", [fold])
    (planned / "done").touch()
    os.environ["nnUNet_n_proc_DA"] = "0"


def plans_of(arm: str, seed: int | str, steps: int = 0) -> str:
    """Name the plans of an arm."""
    return f"{PLANS}_{arm.replace(', ', '_').replace(' ', '_')}_{steps}_{seed}"


def variant(work: Path, name: str, knobs: str) -> None:
    """Write plans with other knobs, unless they are there."""
    if not (work / "preprocessed" / DATASET / f"{name}.json").exists():
        run(f"nnunet_ext variant -d {DATASET[7:10]} -p {PLANS} --as {name} --set {knobs}")


def time_steps(work: Path, timed: int) -> dict[str, float]:
    """Return CPU seconds of a batch and its step relative to nnU-Net's: means, the arms in turn, one thread.

    Means, because augmentation takes long for few batches.
    """
    file = work / "steps.json"
    if file.exists():
        found: dict[str, float] = json.loads(file.read_text())
        return found
    import torch

    from nnunet_ext.stock.lookup import ext_trainer

    torch.set_num_threads(1)
    ready: dict[str, tuple[Any, Any]] = {}
    for arm, (trainer, knobs) in ARMS.items():
        variant(work, name := plans_of(arm, "time"), f"{knobs} seed=0")
        folder = work / "preprocessed" / DATASET
        plans = json.loads((folder / f"{name}.json").read_text()) | {"continue_training": False}
        described = json.loads((folder / "dataset.json").read_text())
        kind = ext_trainer(trainer)
        assert kind is not None
        made = kind(plans, "3d_fullres", 0, described, device=torch.device("cpu"))
        made.initialize()
        made.set_deep_supervision_enabled(True)
        ready[arm] = made, made.get_dataloaders()[0]
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for number in range(timed + 1):
        for arm, (made, loader) in ready.items():
            made.network.train()
            start = time.process_time()
            made.train_step(next(loader))
            if number:
                seconds[arm].append(time.process_time() - start)
    means = {arm: statistics.mean(values) for arm, values in seconds.items()}
    print("CPU seconds of a batch and its step:", means, flush=True)
    ratios = {arm: value / means["nnU-Net"] for arm, value in means.items()}
    write_json(file, ratios)
    return ratios


def tested(work: Path, arm: str, seed: int, epochs: int, steps: int) -> list[ShiftScores]:
    """Train one arm and test it, unless that is done; return Dice without a shift and under each.

    Args:
        work: The folder of all runs.
        arm: Its name.
        seed: Of the training.
        epochs: Of the training.
        steps: Of an epoch.
    """
    trainer, knobs = ARMS[arm]
    name = plans_of(arm, seed, epochs * steps)
    variant(work, name, f"{knobs} seed={seed} num_epochs={epochs} num_iterations_per_epoch={steps}")
    model = work / "results" / DATASET / f"{trainer}__{name}__3d_fullres"
    if not (model / "fold_0" / "checkpoint_final.pth").exists():
        more = "--c" if (model / "fold_0" / "checkpoint_latest.pth").exists() else ""
        run(f"nnunet_ext train {DATASET[7:10]} 3d_fullres 0 -tr {trainer} -p {name} -device cpu {more}")
    out = work / "shifts" / name
    if not (out / "shift_test.png").exists():  # the last file that it writes
        out.parent.mkdir(exist_ok=True)
        run(f"nnunet_ext shift_test {model} -o {out} -f 0 -device cpu --disable_tta --no_pbar")
    return shift_scores(json.loads((out / "shift_test.json").read_text())["cases"])


def tables(scores: dict[str, list[list[ShiftScores]]], steps: dict[str, int]) -> str:
    """Return the three tables; means over seeds, shares for each.

    Args:
        scores: By arm, for each seed.
        steps: By arm.
    """

    def mean(arm: str, number: int) -> float:
        return statistics.mean(of_seed[number].mean for of_seed in scores[arm])

    names = [each.name for each in next(iter(scores.values()))[0]]
    shifted = range(1, len(names))
    control = "nnU-Net" if "nnU-Net" in scores else next(iter(scores))
    drops = {arm: mean(arm, 0) - statistics.mean(mean(arm, number) for number in shifted) for arm in scores}
    rows = [
        ["arm", "steps", "Dice without a shift, each seed", "mean", f"less than {control}", "mean drop under shifts",
         f"share of {control}'s", "Dice, mean of shifts", "lowest", "under"]
    ]  # fmt: skip
    for arm, of_seeds in scores.items():
        lowest = min(shifted, key=lambda number, arm=arm: mean(arm, number))
        each = ", ".join(f"{of_seed[0].mean:.4f}" for of_seed in of_seeds)
        numbers = [mean(arm, 0), mean(control, 0) - mean(arm, 0), drops[arm]]
        share = f"{drops[arm] / drops[control]:.2f}" if drops[control] else ""
        worst = [f"{mean(arm, 0) - drops[arm]:.4f}", f"{mean(arm, lowest):.4f}", names[lowest]]
        rows.append([arm, str(steps[arm]), each, *(f"{number:.4f}" for number in numbers), share, *worst])
    more = [["arm", *names]] + [[arm, *(f"{mean(arm, n):.3f}" for n in range(len(names)))] for arm in scores]
    kinds = list(dict.fromkeys(names[number].rsplit(" ", 1)[0] for number in shifted))
    all_but = [number for number in shifted if not names[number].startswith("inversion")]
    last = [["arm", "share under all shifts, each seed", "share without inversion, each seed", *kinds]]
    for arm, of_seeds in scores.items():
        shares = [
            ", ".join(
                f"{_drop(own, numbers) / _drop(of_control, numbers):.2f}"
                for own, of_control in zip(of_seeds, scores[control], strict=False)
            )
            for numbers in (shifted, all_but)
        ]
        drops_of = [[n for n in shifted if names[n].rsplit(" ", 1)[0] == kind] for kind in kinds]
        means = [statistics.mean(_drop(own, numbers) for own in of_seeds) for numbers in drops_of]
        last.append([arm, *shares, *(f"{drop:.3f}" for drop in means)])
    return "\n\n".join(
        "\n".join("| " + " | ".join(row) + " |" for row in [table[0], ["---"] * len(table[0]), *table[1:]])
        for table in (rows, more, last)
    )


def _drop(scores: list[ShiftScores], numbers: Sequence[int]) -> float:
    return scores[0].mean - statistics.mean(scores[number].mean for number in numbers)


def main() -> None:
    """Train and test everything that is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000, help="of the arm nnU-Net")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--timed", type=int, default=100, help="steps of each arm from which its time is taken")
    parser.add_argument("--cases", type=int, help="of the source, to try the benchmark [all]")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    prepare(work, arguments.raw.resolve(), arguments.cases)
    ratios = time_steps(work, arguments.timed)
    epochs = max(min(EPOCHS, arguments.steps // 10), 1)
    steps = {arm: max(round(arguments.steps / ratios[arm] / epochs), 1) for arm in arguments.only}
    scores: dict[str, list[list[ShiftScores]]] = {}
    for seed in arguments.seeds:
        for arm in arguments.only:
            scores.setdefault(arm, []).append(tested(work, arm, seed, epochs, steps[arm]))
            means = {each.name: round(each.mean, 4) for each in scores[arm][-1]}
            print(f"{arm}, seed {seed}, {steps[arm] * epochs} steps: {means}", flush=True)
    print(tables(scores, {arm: number * epochs for arm, number in steps.items()}))


if __name__ == "__main__":
    main()
