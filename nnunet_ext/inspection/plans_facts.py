"""What the plans and the dataset.json of a model say about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnunet_ext.base.knobs import BLOCK as KNOBS
from nnunet_ext.collection.task_table import BLOCK as COLLECTION
from nnunet_ext.data.dataset_json import BACKGROUND, IGNORE
from nnunet_ext.inspection.plain_values import at, known, plain

OF_CONFIGURATION = ("spacing", "patch_size", "batch_size", "normalization_schemes")


def plans_facts(plans: Any, dataset_json: Any, configuration: Any) -> dict[str, Any]:
    """Return what plans and dataset.json say, as JSON has it; what they do not say is left out.

    Args:
        plans: Plans of nnU-Net v2; anything else has no facts.
        dataset_json: The dataset.json; likewise.
        configuration: Name of the trained configuration; None if it is unknown.

    Returns:
        ``plans``, ``configuration``, ``dataset``, ``labels`` or ``regions``, ``channels``, ``spacing`` in mm and
        ``patch_size`` in voxels (axes in the order of the plans), ``batch_size``, ``architecture``, ``knobs``,
        ``tasks`` and so on.
    """
    lineage = _lineage(plans, configuration)[::-1]
    planned = {key: value for each in lineage for key, value in each.items()}  # as nnU-Net inherits
    labels = at(dataset_json, "labels")
    labels = labels if isinstance(labels, Mapping) else {}
    regions = any(isinstance(value, list | tuple) and len(value) > 1 for value in labels.values())
    classes = {name: value for name, value in labels.items() if name not in (BACKGROUND, IGNORE)}
    facts = {
        "dataset": at(plans, "dataset_name"),
        "plans": at(plans, "plans_name"),
        "configuration": configuration,
        **_collection(plans),
        "regions" if regions else "classes": classes,
        "ignore_label": labels.get(IGNORE),
        "channels": at(dataset_json, "channel_names") or at(dataset_json, "modality"),
        "file_ending": at(dataset_json, "file_ending"),
        "training_cases": at(dataset_json, "numTraining"),
        **{key: planned.get(key) for key in OF_CONFIGURATION},
        "architecture": known(_architecture(planned)),
        "knobs": _knobs([plans, *lineage]),
    }
    return known(plain(facts))


def _lineage(plans: Any, configuration: Any) -> list[Mapping[str, Any]]:
    """Return a configuration and those that it inherits from, the nearest first."""
    found: list[Mapping[str, Any]] = []
    seen: list[Any] = []
    while isinstance(planned := at(plans, "configurations", configuration), Mapping) and configuration not in seen:
        seen.append(configuration)
        found.append(planned)
        configuration = planned.get("inherits_from")
    return found


def _architecture(planned: Mapping[str, Any]) -> dict[str, Any]:
    network, arguments = at(planned, "architecture", "network_class_name"), at(planned, "architecture", "arch_kwargs")
    if network is None:  # nnU-Net up to 2.3
        return {
            "class": planned.get("UNet_class_name"),
            "stages": _length(planned.get("conv_kernel_sizes")),
            "kernels": planned.get("conv_kernel_sizes"),
            "strides": planned.get("pool_op_kernel_sizes"),
        }
    return {
        "class": str(network).rpartition(".")[2],
        "stages": at(arguments, "n_stages"),
        "features": at(arguments, "features_per_stage"),
        "kernels": at(arguments, "kernel_sizes"),
        "strides": at(arguments, "strides"),
    }


def _collection(plans: Any) -> dict[str, Any]:
    """Return the collection, its tasks and the one task of a view."""
    tasks = at(plans, COLLECTION, "tasks")
    return {
        "collection": at(plans, COLLECTION, "name"),
        "task": at(plans, COLLECTION, "task"),
        "tasks": [
            known({key: at(task, key) for key in ("name", "dataset", "channels", "heads", "cases")}) for task in tasks
        ]
        if isinstance(tasks, list)
        else None,
    }


def _knobs(places: Sequence[Any]) -> dict[str, Any]:
    """Return the knobs that are set in the plans and their configurations; the later ones win, key by key."""
    found: dict[str, Any] = {}
    for block in (at(place, KNOBS) for place in places):
        for key, value in block.items() if isinstance(block, Mapping) else ():
            merges = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
            found[key] = {**found[key], **value} if merges else value
    found.pop("format", None)
    return found


def _length(value: Any) -> int | None:
    return len(value) if isinstance(value, list | tuple) else None
