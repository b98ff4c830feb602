"""What a training depends on: its plans, dataset.json, fingerprint and fold, compared with the current ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_ext.base.knobs import BLOCK, changed, resolve
from nnunet_ext.base.method import methods
from nnunet_ext.data.preprocessed.data_hash import OF_PLANS
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json
from nnunet_ext.weights.roles import restores_images

FINGERPRINT = "dataset_fingerprint.json"
KEY = "nnunet_ext"  # among the checkpoint's init_args, which nnU-Net writes as they are
NOT_TRAINED_WITH = ("data_identifier", "median_image_size_in_voxels", "inherits_from", "next_stage", BLOCK)
UNLABELLED = "/imagesUn"  # after the name of a dataset: its unlabelled images
OF_DATASET = ("labels", "regions_class_order", "channel_names", "modality")
LONGEST_VALUE = 60

Split = tuple[Sequence[str], Sequence[str]]


def data_record(folder: Path, splits: Mapping[str, Split]) -> dict[str, Any]:
    """Return what a checkpoint records of the data, as hashes: a shared model names no case.

    Args:
        folder: The dataset's folder in nnUNet_preprocessed.
        splits: Training and validation cases of the fold, by dataset: a collection has several, and unlabelled images
            count as a dataset of their own (:data:`UNLABELLED`).
    """
    file = folder / FINGERPRINT
    fingerprint = _digest(read_json(file)) if file.is_file() else None
    cases = {dataset: dict(zip(("train", "val"), map(_cases, split), strict=True)) for dataset, split in splits.items()}
    return {"fingerprint": fingerprint, "cases": cases}


def images_seen(checkpoint: Mapping[str, Any], data: Mapping[str, Any]) -> str | None:
    """Say that a pre-training on images may have seen what this training validates on; None if it has not.

    Args:
        checkpoint: Of the pre-training; any other training says nothing here.
        data: The :func:`data_record` of this training.
    """
    if not restores_images(checkpoint.get("init_args")):
        return None
    then = (recorded(checkpoint) or {}).get("cases", {})
    for dataset, now in data["cases"].items():
        before = then.get(dataset)
        held_out = now["val"]["number"] and now["val"] != now["train"]
        if before and held_out and before["train"]["number"] and before["val"] != now["val"]:
            return (
                f"the pre-training restored images of {dataset} in another fold, perhaps those that this one validates "
                f"on, whose scores are then too good. Pre-train on the same fold, or on unlabelled images alone."
            )
    return None


def case_record(names: Iterable[str]) -> dict[str, Any]:
    """Return what :func:`data_record` says of some cases."""
    return _cases(sorted(names))


def validation_record(checkpoint: Mapping[str, Any], dataset: str) -> dict[str, Any] | None:
    """Return what a checkpoint records of a dataset's validation cases; None if it does not, as stock nnU-Net's."""
    data = (checkpoint.get("init_args") or {}).get(KEY) or {}
    found: dict[str, Any] | None = data.get("cases", {}).get(dataset, {}).get("val")
    return found


def recorded(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the data record of a checkpoint; None if an older version wrote it."""
    return checkpoint["init_args"].get(KEY)


def of_methods(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the knobs of methods, which shape networks, without the general ones."""
    return {key: value for key, value in knobs.items() if key in methods()}


def check_trained_on(
    checkpoint: Mapping[str, Any],
    place: object,
    plans: Mapping[str, Any],
    configuration: str,
    dataset_json: Mapping[str, Any],
    data: Mapping[str, Any] | None,
    knobs: tuple[dict[str, Any], dict[str, Any]] | None = None,
) -> None:
    """Refuse to resume from a checkpoint, or to validate it, with plans or data that it was not trained on.

    Knobs that may change, and the plans' other configurations, may differ.

    Args:
        checkpoint: The checkpoint; what an older version did not record is not compared.
        place: Its file, for the message.
        plans: The current plans.
        configuration: Name of the configuration.
        dataset_json: The current dataset.json.
        data: The current :func:`data_record`; None is not compared.
        knobs: The checkpoint's and the current ones, if they are not just those of the plans.

    Raises:
        UserError: They differ; the message names the first difference.
    """
    began = checkpoint["init_args"]
    now = dict(plans)
    before, after = knobs or (resolve(began["plans"], began["configuration"]), resolve(now, configuration))
    if differences := changed(before, after):
        raise UserError(
            f"{place}: expected the knobs that the run began with, got {'; '.join(differences)}. Set them back, or "
            f"save the new ones under another name: nnunet_ext variant --as NAME --set ..."
        )
    difference = (
        _change("plans", _of_plans(began["plans"], began["configuration"]), _of_plans(now, configuration))
        or _change("dataset.json", _of_dataset(began.get("dataset_json", dataset_json)), _of_dataset(dataset_json))
        or data_difference(recorded(checkpoint), data)
    )
    if difference is not None:
        raise UserError(
            f"{place}: expected the plans and data that the run began with, got {difference}. Restore them, or train "
            f"on the new ones from scratch (without --c), best with plans of another name, which have their own folder."
        )


def data_difference(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str | None:
    """Name the first difference between two data records; None is not compared."""
    if not before or not now:
        return None
    for dataset, cases in before["cases"].items():
        for key, use in (("train", "training"), ("val", "validation")):
            then, today = cases[key], now["cases"].get(dataset, {}).get(key)
            if then != today:
                count = f"{then['number']} -> {today['number']}" if today else f"{then['number']} -> none"
                file = "" if dataset.endswith(UNLABELLED) else "splits_final.json: "
                return f"other {use} cases of {dataset} ({file}{count})"
    if before["fingerprint"] != now["fingerprint"]:
        return f"another {FINGERPRINT}: it has been extracted again since"
    return None


def _of_plans(plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    resolved = PlansManager(dict(plans)).get_configuration(configuration).configuration
    found = {key: plans.get(key) for key in OF_PLANS}
    return found | {configuration: {key: resolved[key] for key in resolved if key not in NOT_TRAINED_WITH}}


def _of_dataset(dataset_json: Mapping[str, Any]) -> dict[str, Any]:
    return {key: dataset_json.get(key) for key in OF_DATASET}


def _change(name: str, before: Any, after: Any) -> str | None:
    """Name the first entry that differs between two JSON values, from the outermost level inwards."""
    before, after = (json.loads(json.dumps(value, default=str)) for value in (before, after))
    if before == after:
        return None
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(key for key in after if key not in before)]
        found = (
            _change(f"{name}: {key}" if ":" not in name else f"{name}.{key}", before.get(key), after.get(key))
            for key in keys
        )
        return next(change for change in found if change)
    values = f"{before!r} -> {after!r}"
    return f"{name} {values}" if len(values) <= 2 * LONGEST_VALUE else f"another {name}"


def _cases(names: Sequence[str]) -> dict[str, Any]:
    return {"number": len(names), "sha256": _digest(sorted(names))}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
