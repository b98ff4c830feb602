"""One training of ``nnunet_ext compare``, from plans to scores."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.base import knobs
from nnunet_ext.base.trained_on import check_trained_on, data_record
from nnunet_ext.comparison.arm import Arm
from nnunet_ext.comparison.differences import changed_keys, changed_settings, differences, few
from nnunet_ext.comparison.digest import plans_digest
from nnunet_ext.comparison.record import DATA, FORMAT, hardware, read_record, versions
from nnunet_ext.comparison.scoring import score
from nnunet_ext.comparison.setting import Setting
from nnunet_ext.comparison.variants import write_variant
from nnunet_ext.data.folds import fold_site, folds_of, split_of
from nnunet_ext.data.plans_file import check_plans_name
from nnunet_ext.data.preprocessed.state import preprocessed_cases
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import parse_metrics
from nnunet_ext.files.json_file import read_object, write_json
from nnunet_ext.stock import folders

if TYPE_CHECKING:
    from nnunet_ext.cli.common.shell import Shell

FINAL = "checkpoint_final.pth"
METRICS = "metrics"  # of a record: what was scored besides Dice and HD95
OF_TRAINING = ("commands", "hardware", "versions")  # of a record: stay when a run is scored again


@dataclass(frozen=True)
class Run:
    """A trainer with knobs, one seed and one fold."""

    setting: Setting
    arm: Arm
    seed: int
    fold: str

    @property
    def title(self) -> str:
        """The run in words."""
        return f"{self.arm.name}, fold {self.fold}, seed {self.seed}"

    @property
    def key(self) -> str:
        """Part of file names."""
        return f"{self.arm.slug}_fold{self.fold}_seed{self.seed}"

    @property
    def plans_name(self) -> str:
        """Name of the variant of the plans."""
        return f"{self.setting.p}_{self.arm.slug}_s{self.seed}"

    @property
    def file(self) -> Path:
        """Where the record is stored once the run is finished."""
        return self.setting.out / "runs" / f"{self.key}.json"

    @property
    def train_words(self) -> list[str]:
        """The training command as typed."""
        model = ["-tr", self.arm.trainer, "-p", self.plans_name, "-device", self.setting.device]
        return ["nnUNetv2_train", self.setting.d, self.setting.c, self.fold, *model]

    def finished(self) -> dict[str, Any] | None:
        """Return the record; None before the run is finished, or if other metrics are wanted than were scored.

        Raises:
            UserError: It, or a training that has begun, has other settings, plans or files to score; or the arm's
                name is too long.
        """
        self._check_name()
        if self.file.is_file():
            record = read_record(self.file)
            if found := differences(record, self._identity):
                raise changed_settings(self.file, found)
            if set(self._metrics) <= set(record.get(METRICS, ())):
                return record
        self._check_begun()
        return None

    def to_score(self) -> dict[str, Any] | None:
        """Return what the record will say about cases and classes, for ``check_alike``; None if not known yet."""
        scored = self.setting.scored
        cases = [case.name for case in scored.cases] or self._validation_cases()
        if not cases:
            return None
        classes = dict.fromkeys(cases, scored.classes)
        return {"name": self.arm.name, "fold": self.fold, "cases": classes, "cases_sha256": scored.digests}

    def write_plans(self) -> None:
        """Write the variant of the plans, as ``nnunet_ext variant`` does.

        Raises:
            UserError: The plans hold blocks that override this run's knobs.
        """
        with self._named():
            write_variant(self.setting.d, self.setting.p, self.plans_name, self._knobs)

    def do(self, shell: Shell) -> dict[str, Any]:
        """Train or resume training, predict, score, and write the record.

        Raises:
            UserError: A command fails, or a prediction does not fit its label.
        """
        known = self.file.is_file() and (self._fold_folder / FINAL).is_file()  # trained, and scored by other metrics
        earlier = read_record(self.file) if known else {}
        metrics = {each.name: each for name in earlier.get(METRICS, ()) for each in parse_metrics(name)}
        metrics |= {metric.name: metric for metric in self.setting.metrics}
        self._train(shell)
        if self.setting.scored.cases:
            shell.run(self._predict_words(self.setting.out))
        record = {
            "format": FORMAT,
            **self._identity,
            "site": fold_site(self._data, self.fold),
            "epochs": self._resolved["num_epochs"],
            "iterations_per_epoch": self._resolved["num_iterations_per_epoch"],
            "training_seconds": self._training_seconds(),
            "commands": self._commands(),
            "hardware": hardware(self.setting.device),
            "versions": versions(),
            **{key: earlier[key] for key in OF_TRAINING if key in earlier},
            "cases": score(self._pairs(), self.setting.scored, self._plans, [*metrics.values()]),
            **({METRICS: [*metrics]} if metrics else {}),
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.file, record, indent=1)
        return record

    @property
    def _metrics(self) -> list[str]:
        return [metric.name for metric in self.setting.metrics]

    @cached_property
    def _knobs(self) -> tuple[str, ...]:
        return (*self.setting.knobs, *self.arm.knobs, f"seed={self.seed}")

    @cached_property
    def _plans(self) -> dict[str, Any]:
        """The plans with this run's knobs."""
        plans = deepcopy(folders.plans(self.setting.d, self.setting.p))
        with self._named():
            knobs.put(plans, knobs.parse(self._knobs))
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
            "dataset": self._data.name,
            "plans": self.setting.p,
            "configuration": self.setting.c,
            "fold": self.fold,
            "seed": self.seed,
            "scored": self.setting.scored.origin,
            "plans_sha256": self._digest(self._plans),
            "cases_sha256": self.setting.scored.digests,
            DATA: self._data_record,
        }

    @cached_property
    def _data_record(self) -> dict[str, Any]:
        """The fingerprint and the fold that it trains on, as a checkpoint records them."""
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        identifier = PlansManager(self._plans).get_configuration(self.setting.c).data_identifier
        cases = preprocessed_cases(self._data / identifier)
        return data_record(self._data, {self._data.name: split_of(self._data, cases, self.fold)})

    @property
    def _data(self) -> Path:
        return folders.dataset("nnUNet_preprocessed", self.setting.d)

    @property
    def _model(self) -> Path:
        model = f"{self.arm.trainer}__{self.plans_name}__{self.setting.c}"
        return folders.folder("nnUNet_results") / self._data.name / model

    @property
    def _fold_folder(self) -> Path:
        return self._model / f"fold_{self.fold}"

    def _digest(self, plans: dict[str, Any]) -> str:
        return plans_digest(self._data, plans, self.setting.c)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Prefix an error about knobs with the option that they came with."""
        try:
            yield
        except UserError as error:
            raise UserError(f"-tr {self.arm.name!r}: {str(error).removeprefix('--set').lstrip(': ')}") from error

    def _check_name(self) -> None:
        try:
            check_plans_name(self.plans_name)
        except UserError as error:
            raise UserError(
                f"-tr {self.arm.name!r}: expected a shorter name, because it becomes part of the name of plans, "
                f"{self.plans_name!r}, got one that cannot name any (more than 100 letters, or __ in -p). Give one: "
                f"-tr NAME=TRAINER."
            ) from error

    def _check_begun(self) -> None:
        """Refuse to resume a training that has other plans."""
        variant, trained = self._data / f"{self.plans_name}.json", self._model / "plans.json"
        new = self._plans | {"plans_name": self.plans_name}
        if variant.is_file() and (found := folders.read_json(variant)) != new:
            raise changed_settings(variant, self._changed_knobs(found) or [f"other {few(changed_keys(found, new))}"])
        if trained.is_file():
            found = folders.read_json(trained)
            changed = self._changed_knobs(found)
            if self._digest(found) != self._identity["plans_sha256"]:
                changed.append(f"other plans {self.setting.p!r}")
            if changed:
                raise changed_settings(trained, changed)
        from nnunet_ext.base.checkpoints import whole_checkpoints

        dataset_json = folders.read_json(self._data / "dataset.json")
        for file, checkpoint in whole_checkpoints(self._fold_folder):
            check_trained_on(checkpoint, file, new, self.setting.c, dataset_json, self._data_record)

    def _changed_knobs(self, plans: dict[str, Any]) -> list[str]:
        return knobs.changed(knobs.resolve(plans, self.setting.c), self._resolved)

    def _validation_cases(self) -> list[str]:
        """The fold's validation cases; none if nnU-Net will draw them because there are fewer folds."""
        ending = self.setting.scored.ending
        truths = (self._data / "gt_segmentations").glob(f"*{ending}")
        folds = folds_of([self._data], [truth.name.removesuffix(ending) for truth in truths])
        return folds[int(self.fold)]["val"] if int(self.fold) < len(folds) else []

    def _train(self, shell: Shell) -> None:
        epochs = self._resolved["num_epochs"]
        if not (self._fold_folder / FINAL).is_file():
            begun = any((self._fold_folder / f"checkpoint_{kind}.pth").is_file() for kind in ("latest", "best"))
            shell.run([*self.train_words, *(["--c"] if begun else [])], epochs=epochs)
        elif not self._is_validated():  # the training was killed in its final validation
            shell.run([*self.train_words, "--val"])

    def _is_validated(self) -> bool:
        try:
            return bool(read_object(self._fold_folder / "validation" / "summary.json"))
        except UserError:  # not there, or not whole
            return False

    def _predict_words(self, out: Path) -> list[str]:
        places = ["-i", str(out / "images"), "-o", str(out / "predictions" / self.key)]
        model = ["-d", self.setting.d, "-c", self.setting.c, "-tr", self.arm.trainer, "-p", self.plans_name]
        options = ["-f", self.fold, "-chk", FINAL, "-npp", "0", "-nps", "0", "-device", self.setting.device]
        return ["nnUNetv2_predict", *places, *model, *options]

    def _commands(self) -> list[str]:
        """All commands; folders are relative to the comparison's."""
        variant = ["nnunet_ext", "variant", "-d", self.setting.d, "-p", self.setting.p, "--as", self.plans_name]
        commands = [[*variant, "--set", *self._knobs], self.train_words]
        return [
            shlex.join(c) for c in (*commands, *([self._predict_words(Path())] if self.setting.scored.cases else []))
        ]

    def _training_seconds(self) -> float:
        """Duration of all epochs, however often the training was interrupted."""
        from nnunet_ext.base.checkpoints import read_checkpoint

        log = read_checkpoint(self._fold_folder / FINAL, trust=True)["logging"]
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
            truths = self._data / "gt_segmentations"
            for entry in folders.read_json(place / "summary.json")["metric_per_case"]:
                name = Path(entry["prediction_file"]).name
                yield name.removesuffix(ending), place / name, truths / name
