"""What of a trained model is handed over: its files without traces of the machine, and its model card."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from tqdm import tqdm

from nnunet_ext import __version__
from nnunet_ext.base.checkpoints import read_trained
from nnunet_ext.base.validated_checkpoint import validated_checkpoint
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.data.dataset_json import read_dataset_json
from nnunet_ext.data.plans_file import read_plans
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.export.model_card import CardContent, model_card
from nnunet_ext.export.plain_unet import NotPlainError, plain_unet
from nnunet_ext.export.shared_content import SharedContent
from nnunet_ext.files.json_file import read_object
from nnunet_ext.fine_tuning.fine_tuning_plans import BLOCK as ORIGIN
from nnunet_ext.inspection.checkpoint_facts import checkpoint_facts, trainer_facts
from nnunet_ext.inspection.inspect_path import inspect_path
from nnunet_ext.inspection.plain_values import at
from nnunet_ext.inspection.plans_facts import plans_facts
from nnunet_ext.stock.lookup import ext_trainer

logger = logging.getLogger(__name__)
TRAINER = nnUNetTrainer.__name__
CARD, PLANS, DATASET, FINGERPRINT = "MODEL_CARD.md", "plans.json", "dataset.json", "dataset_fingerprint.json"
SUMMARY, PROGRESS, REPORT, DEBUG = "validation/summary.json", "progress.png", "fine_tuning.json", "debug.json"


@dataclass(frozen=True)
class HandedOverModel:
    """A trained model as it is handed over; :meth:`read` makes it.

    Args:
        model: Its folder ``TRAINER__PLANS__CONFIGURATION`` here.
        folds: Names of the folds.
        checkpoint_name: Name of the checkpoint.
        configuration: Its configuration.
        trainer: The trainer that reads it: ``nnUNetTrainer`` where that predicts the same.
        tensors: Names of the tensors of nnU-Net's network; None: all.
        reason: Why it needs another package than nnU-Net; None: it does not.
        content: Takes away what is not handed over.
    """

    model: Path
    folds: tuple[str, ...]
    checkpoint_name: str
    configuration: str
    trainer: str
    tensors: tuple[str, ...] | None
    reason: str | None
    content: SharedContent

    @classmethod
    def read(
        cls, model: Path, folds: Sequence[str], checkpoint_name: str, plans_name: str | None, show_progress: bool
    ) -> HandedOverModel:
        """Find out whether nnU-Net's own network predicts what the model predicts.

        Args:
            model: Folder ``TRAINER__PLANS__CONFIGURATION``.
            folds: Names of the folds, at least one.
            checkpoint_name: Name of the checkpoint.
            plans_name: Name of the plans where the model is handed over; None: as here.
            show_progress: Show a bar over the folds.

        Raises:
            UserError: It is damaged or that of a collection, or its trainer is not installed.
        """
        plans = read_plans(model / PLANS)
        table = TaskTable.read(plans)
        if table is not None and table.bound is None:
            raise UserError(
                f"{model}: expected the model of one dataset, found that of a collection. Give a task's view of it."
            )
        dataset_json = read_dataset_json(model / DATASET)
        tensors: tuple[str, ...] | None = None
        trainer, configuration, reason = TRAINER, "", None
        for fold in tqdm(folds, desc="comparing with nnU-Net's network", disable=not show_progress):
            file = model / f"fold_{fold}" / checkpoint_name
            checkpoint = read_trained(file)
            configuration = checkpoint["init_args"]["configuration"]
            kind = _trainer_class(checkpoint["trainer_name"], file)
            if kind.__module__.startswith("nnunetv2."):
                trainer = kind.__name__
                continue
            try:
                plain = plain_unet(kind, plans, configuration, dataset_json, checkpoint["network_weights"], file)
            except NotPlainError as error:
                trainer, tensors, reason = kind.__name__, None, one_line(error)
                break
            tensors = tuple(plain.state_dict())
        content = SharedContent(reason is None, plans_name or plans["plans_name"])
        return cls(model, tuple(folds), checkpoint_name, configuration, trainer, tensors, reason, content)

    @property
    def name(self) -> str:
        """Its folder in nnUNet_results: ``Dataset004_Liver/nnUNetTrainer__nnUNetPlans__3d_fullres``."""
        return f"{self.model.parent.name}/{self.trainer}__{self.content.plans_name}__{self.configuration}"

    def checkpoint(self, fold: str) -> dict[str, Any]:
        """Return what the checkpoint of a fold will hold."""
        found = read_trained(self._fold(fold) / self.checkpoint_name)
        weights = found["network_weights"]
        names = weights if self.tensors is None else self.tensors
        return self.content.checkpoint(found, self.trainer, {name: weights[name] for name in names})

    def files(self) -> dict[str, bytes]:
        """Return the other files by name, without the card."""
        found = {
            PLANS: _json(self.content.plans(read_plans(self.model / PLANS))),
            DATASET: _json(self.content.dataset_json(read_object(self.model / DATASET))),
        }
        if (self.model / FINGERPRINT).is_file():
            found[FINGERPRINT] = _json(self.content.fingerprint(read_object(self.model / FINGERPRINT)))
        for fold, summary in self._summaries().items():
            found[f"fold_{fold}/{SUMMARY}"] = _json(self.content.summary(summary))
        for fold in self.folds:
            if (self._fold(fold) / PROGRESS).is_file():
                found[f"fold_{fold}/{PROGRESS}"] = (self._fold(fold) / PROGRESS).read_bytes()
        return found

    def card(self) -> str:
        """Return the model card."""
        plans, dataset_json = read_plans(self.model / PLANS), read_dataset_json(self.model / DATASET)
        file = self._fold(self.folds[0]) / self.checkpoint_name
        checkpoints = [read_trained(self._fold(fold) / self.checkpoint_name) for fold in self.folds]
        facts = plans_facts(plans, dataset_json, self.configuration)
        facts |= trainer_facts(checkpoints[0]["trainer_name"]) | {"dataset": self.model.parent.name}
        facts |= {
            "parameters_in_millions": checkpoint_facts(self.checkpoint(self.folds[0]), file)["parameters_in_millions"]
        }
        folders = {fold: self._fold(fold) for fold in self.folds}
        reports = {fold: read_object(each / REPORT) for fold, each in folders.items() if (each / REPORT).is_file()}
        return model_card(
            CardContent(
                facts=facts,
                dataset_json=dataset_json,
                fingerprint=read_object(self.model / FINGERPRINT) if (self.model / FINGERPRINT).is_file() else {},
                trainer=self.trainer,
                plans_name=self.content.plans_name,
                is_stock=self.reason is None,
                checkpoint=self.checkpoint_name,
                folds=self.folds,
                epochs=[each.get("current_epoch") for each in checkpoints],
                summaries=self._summaries(),
                reports=reports,
                origin=plans.get(ORIGIN, {}),
                source=_source(at(facts, "knobs", "init_from")),
                trained=_date(checkpoints),
                versions=self._versions(),
                left_out=sorted(self.content.left_out),
            )
        )

    def _fold(self, fold: str) -> Path:
        return self.model / f"fold_{fold}"

    def _summaries(self) -> dict[str, dict[str, Any]]:
        """Return the folds' scores of this checkpoint; nnU-Net writes those of best and final to the same place."""
        found = {}
        for fold in self.folds:
            file = self._fold(fold) / SUMMARY
            if file.is_file() and validated_checkpoint(file.parent) == self.checkpoint_name:
                found[fold] = read_object(file)
            else:
                logger.warning("%s: no scores of %s, so the zip file has none of this fold", file, self.checkpoint_name)
        return found

    def _versions(self) -> dict[str, str]:
        debug = self._fold(self.folds[0]) / DEBUG
        trained = at(read_object(debug), "torch_version") if debug.is_file() else None
        torch = f"{version('torch')} (training: {trained})" if trained else version("torch")
        return {"nnunet_ext": __version__, "nnunetv2": version("nnunetv2"), "torch": torch}


def _trainer_class(name: str, file: Path) -> type[nnUNetTrainer]:
    try:
        found: type[nnUNetTrainer] = ext_trainer(name) or recursive_find_trainer_class_by_name(name)
    except RuntimeError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{file}: expected nnU-Net to find the trainer {name!r}, got {one_line(error)!r}. Install the package that "
            f"it belongs to, and set nnUNet_extTrainer to its folder."
        ) from error
    return found


def _source(file: Any) -> dict[str, Any]:
    """Return what is known of the checkpoint that the training started from, if it is still there."""
    if not isinstance(file, str) or not Path(file).is_file():
        return {}
    try:
        return inspect_path(Path(file))
    except UserError as error:
        logger.warning("%s The model card says less about the source.", error)
        return {}


def _date(checkpoints: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the date (UTC) of the last epoch, as nnU-Net logged it."""
    ends = (at(each, "logging", "epoch_end_timestamps") for each in checkpoints)
    times = [float(time) for each in ends if isinstance(each, list) for time in each]
    return datetime.fromtimestamp(max(times), timezone.utc).date().isoformat() if times else None


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=4).encode()
