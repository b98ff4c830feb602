"""One training of ``nnunet_ext compare``, from plans to scores."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.base import knobs
from nnunet_ext.cli import folders
from nnunet_ext.cli.compare_arm import Arm
from nnunet_ext.cli.compare_cases import VALIDATION, ScoredCases
from nnunet_ext.cli.compare_record import FORMAT, hardware, read_record, versions
from nnunet_ext.cli.variant import Variant, check_name
from nnunet_ext.errors import UserError

if TYPE_CHECKING:
    from nnunet_ext.cli.shell import Shell

FINAL = "checkpoint_final.pth"


@dataclass(frozen=True)
class Setting:
    """What all runs of a comparison share.

    Args:
        d: Data set, number or name.
        p: Plans' name.
        c: Configuration.
        device: ``cpu``, ``cuda`` or ``mps``.
        out: The comparison's folder.
        knobs: ``KEY=VALUE`` for all runs.
        scored: The cases to score.
    """

    d: str
    p: str
    c: str
    device: str
    out: Path
    knobs: tuple[str, ...]
    scored: ScoredCases


@dataclass(frozen=True)
class Run:
    """A trainer with knobs, one seed and one fold."""

    setting: Setting
    arm: Arm
    seed: int
    fold: str

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.arm.name}, fold {self.fold}, seed {self.seed}"

    @property
    def key(self) -> str:
        """For files."""
        return f"{self.arm.slug}_fold{self.fold}_seed{self.seed}"

    @property
    def plans_name(self) -> str:
        """Name of the variant of the plans."""
        return f"{self.setting.p}_{self.arm.slug}_s{self.seed}"

    @property
    def file(self) -> Path:
        """Where the record lies once the run is finished."""
        return self.setting.out / "runs" / f"{self.key}.json"

    @property
    def train_words(self) -> list[str]:
        """The training as typed."""
        model = ["-tr", self.arm.trainer, "-p", self.plans_name, "-device", self.setting.device]
        return ["nnUNetv2_train", self.setting.d, self.setting.c, self.fold, *model]

    def finished(self) -> dict[str, Any] | None:
        """Return the record; None before the run is finished.

        Raises:
            UserError: It, or a training that has begun, has other settings.
        """
        new = self._resolved
        if self.file.is_file():
            record = read_record(self.file)
            if differences := _differences({key: record[key] for key in self._identity}, self._identity):
                raise _changed(self.file, differences)
            return record
        check_name(self.plans_name)
        begun = folders.dataset("nnUNet_preprocessed", self.setting.d) / f"{self.plans_name}.json"
        for file in (begun, self._model / "plans.json"):
            if not file.is_file():
                continue
            if differences := knobs.changed(knobs.resolve(folders.read_json(file), self.setting.c), new):
                raise _changed(file, differences)
        return None

    def write_plans(self) -> None:
        """Write the variant of the plans, as ``nnunet_ext variant`` does.

        Raises:
            UserError: Other plans of that name are there.
        """
        with contextlib.redirect_stdout(io.StringIO()):
            Variant(self.setting.d, self.setting.p, self.plans_name, list(self._knobs)).run()

    def do(self, shell: Shell) -> dict[str, Any]:
        """Train, or go on with it, predict, score, and write the record.

        Raises:
            UserError: A command fails, or a prediction does not fit its label.
        """
        self._train(shell)
        if self.setting.scored.cases:
            shell.run(self._predict_words(self.setting.out))
        record = {
            "format": FORMAT,
            **self._identity,
            "epochs": self._resolved["num_epochs"],
            "iterations_per_epoch": self._resolved["num_iterations_per_epoch"],
            "training_seconds": self._training_seconds(),
            "commands": self._commands(),
            "hardware": hardware(self.setting.device),
            "versions": versions(),
            "cases": self._score(),
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(".partial")
        partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
        partial.replace(self.file)
        return record

    @cached_property
    def _knobs(self) -> tuple[str, ...]:
        return (*self.setting.knobs, *self.arm.knobs, f"seed={self.seed}")

    @cached_property
    def _plans(self) -> dict[str, Any]:
        """The plans with this run's knobs."""
        plans = deepcopy(folders.plans(self.setting.d, self.setting.p))
        try:
            knobs.put(plans, knobs.parse(self._knobs))
        except UserError as error:
            raise UserError(f"-tr {self.arm.name!r}: {str(error).removeprefix('--set').lstrip(': ')}") from error
        return plans

    @cached_property
    def _resolved(self) -> dict[str, Any]:
        return knobs.resolve(self._plans, self.setting.c)

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """What a finished run cannot change."""
        block = {key: value for key, value in self._plans[knobs.BLOCK].items() if key not in ("format", "seed")}
        return {
            "name": self.arm.name,
            "trainer": self.arm.trainer,
            "knobs": block,
            "dataset": folders.dataset("nnUNet_preprocessed", self.setting.d).name,
            "plans": self.setting.p,
            "configuration": self.setting.c,
            "fold": self.fold,
            "seed": self.seed,
            "scored": self.setting.scored.origin,
        }

    @property
    def _model(self) -> Path:
        dataset = folders.dataset("nnUNet_preprocessed", self.setting.d).name
        model = f"{self.arm.trainer}__{self.plans_name}__{self.setting.c}"
        return folders.folder("nnUNet_results") / dataset / model

    @property
    def _fold_folder(self) -> Path:
        return self._model / f"fold_{self.fold}"

    def _train(self, shell: Shell) -> None:
        epochs = self._resolved["num_epochs"]
        validated = (self._fold_folder / "validation" / "summary.json").is_file()
        if not (self._fold_folder / FINAL).is_file():
            begun = any((self._fold_folder / f"checkpoint_{kind}.pth").is_file() for kind in ("latest", "best"))
            shell.run([*self.train_words, *(["--c"] if begun else [])], epochs=epochs)
        elif self.setting.scored.origin == VALIDATION and not validated:
            shell.run([*self.train_words, "--val"])

    def _predict_words(self, out: Path) -> list[str]:
        places = ["-i", str(out / "images"), "-o", str(out / "predictions" / self.key)]
        model = ["-d", self.setting.d, "-c", self.setting.c, "-tr", self.arm.trainer, "-p", self.plans_name]
        options = ["-f", self.fold, "-chk", FINAL, "-npp", "0", "-nps", "0", "-device", self.setting.device]
        return ["nnUNetv2_predict", *places, *model, *options]

    def _commands(self) -> list[str]:
        """All commands; folders as seen from the comparison's."""
        variant = ["nnunet_ext", "variant", "-d", self.setting.d, "-p", self.setting.p, "--as", self.plans_name]
        commands = [[*variant, "--set", *self._knobs], self.train_words]
        return [
            shlex.join(c) for c in (*commands, *([self._predict_words(Path())] if self.setting.scored.cases else []))
        ]

    def _training_seconds(self) -> float:
        """Duration of all epochs, however often the training was interrupted."""
        from nnunet_ext.base.checkpoints import read_checkpoint

        log = read_checkpoint(self._fold_folder / FINAL)["logging"]
        epochs = zip(log["epoch_start_timestamps"], log["epoch_end_timestamps"], strict=True)
        return round(sum(end - start for start, end in epochs), 1)

    def _pairs(self) -> Iterator[tuple[str, Path, Path]]:
        """Yield case, prediction and label."""
        ending = self.setting.scored.ending
        for case in self.setting.scored.cases:
            assert case.label is not None
            yield case.name, self.setting.out / "predictions" / self.key / f"{case.name}{ending}", case.label
        if not self.setting.scored.cases:
            place = self._fold_folder / "validation"
            truths = folders.dataset("nnUNet_preprocessed", self.setting.d) / "gt_segmentations"
            for entry in folders.read_json(place / "summary.json")["metric_per_case"]:
                name = Path(entry["prediction_file"]).name
                yield name.removesuffix(ending), place / name, truths / name

    def _score(self) -> dict[str, Any]:
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
        from tqdm import tqdm

        from nnunet_ext.evaluation.case_scores import case_scores

        scored = self.setting.scored
        reader = PlansManager(self._plans).image_reader_writer_class()
        found = {}
        for case, prediction, truth in tqdm(list(self._pairs()), desc="  scoring", leave=False):
            (one, _), (other, properties) = reader.read_seg(str(prediction)), reader.read_seg(str(truth))
            if one.shape != other.shape:
                raise UserError(
                    f"{truth}: expected the shape {one.shape[1:]} of its image, got {other.shape[1:]}. Resample it."
                )
            found[case] = case_scores(
                one[0], other[0], properties["spacing"], scored.classes, scored.description["labels"].get("ignore")
            )
        return found


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    found = [f"{key}: {old[key]!r} -> {new[key]!r}" for key in new if key != "knobs" and old[key] != new[key]]
    return found + knobs.changed(old["knobs"], new["knobs"])


def _changed(file: Path, differences: list[str]) -> UserError:
    return UserError(
        f"{file}: expected the settings that this run began with, got {'; '.join(differences)}. Set them back, or give "
        f"the new ones another name: -tr NAME=TRAINER."
    )
