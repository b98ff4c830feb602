"""Whether manifest and members are still as they were when the collection was planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from nnunet_ext.collection.annotated_classes import check_fully_annotated
from nnunet_ext.collection.manifest import Manifest, ManifestTask, parse_manifest
from nnunet_ext.data.classes import IGNORE, foreground_classes
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json


def check_as_planned(raw: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest that was edited after planning; without raw data there is none to check.

    Args:
        raw: The collection's folder in nnUNet_raw.
        manifest: The manifest that the plans were made from.

    Raises:
        UserError: They differ.
    """
    file = raw / "dataset.json"
    if not file.is_file():
        return
    found = _difference(parse_manifest(manifest, file), parse_manifest(read_json(file, unique=True), file))
    if found:
        raise UserError(
            f"{file}: expected the manifest as it was planned, found {found}. Run nnunet_ext plan_and_preprocess "
            f"-d {dataset_number(raw.name)} -pl ... again (and train again), or restore the file."
        )


def check_member_as_planned(raw: Path, dataset: str, planned: Mapping[str, Any]) -> None:
    """Refuse a member whose classes were changed after planning; without raw data there is none to check.

    Args:
        raw: The folder nnUNet_raw.
        dataset: ``Dataset003_Liver``.
        planned: Its dataset.json in nnUNet_preprocessed.

    Raises:
        UserError: Names, values or order of labels differ, or some cases were annotated for only some classes.
    """
    file = raw / dataset / "dataset.json"
    if not file.is_file():
        return
    now = RawDataset.read(raw / dataset)
    if _classes(now.description) != _classes(planned):
        raise UserError(
            f"{file}: expected the labels that the collection was planned with, {planned['labels']}, found "
            f"{now.description['labels']}. Restore them, or plan the collection again: nnunet_ext plan_and_preprocess."
        )
    check_fully_annotated(now, str(file))


def _classes(description: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the network's outputs and the values in label files mean."""
    classes = list(foreground_classes(description).items())
    return classes, description["labels"].get(IGNORE), description.get("regions_class_order")


def _difference(planned: Manifest, now: Manifest) -> str | None:
    before, after = ({task.name: task for task in manifest.tasks} for manifest in (planned, now))
    changed = [name for name in after if name in before and after[name] != before[name]]
    differences = [f"a new task {name!r}" for name in after if name not in before]
    differences += [f"no task {name!r} any more" for name in before if name not in after]
    differences += [f"task {name!r} with {_changed_keys(before[name], after[name])}" for name in changed]
    differences += [
        f"{key} {getattr(now, key)!r} instead of {getattr(planned, key)!r}"
        for key in ("spacing", "normalization", "network_of")
        if getattr(now, key) != getattr(planned, key)
    ]
    if not differences and list(before) != list(after):
        return "the tasks in another order (it numbers them)"
    return differences[0] if differences else None


def _changed_keys(before: ManifestTask, after: ManifestTask) -> str:
    return "another " + ", ".join(
        field.name for field in fields(after) if getattr(before, field.name) != getattr(after, field.name)
    )
