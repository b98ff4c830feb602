"""Names of a dataset's foreground classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunet_ext.data.dataset_json import IGNORE


def foreground_classes(dataset_json: Mapping[str, Any]) -> dict[str, int | tuple[int, ...]]:
    """Return {name: label or region} in the order of nnU-Net's statistics and of the network's output.

    nnU-Net sorts labels by value, whatever their order in dataset.json, and keeps the order of regions. Several names
    of one label are one class.
    """
    labels = {name: value for name, value in dataset_json["labels"].items() if name != IGNORE}
    if any(isinstance(value, list | tuple) and len(value) > 1 for value in labels.values()):
        regions = {name: tuple(map(int, v)) if isinstance(v, list | tuple) else int(v) for name, v in labels.items()}
        return {name: v for name, v in regions.items() if set(v if isinstance(v, tuple) else (v,)) != {0}}
    names: dict[int, list[str]] = {}
    for name, value in labels.items():
        names.setdefault(int(value[0] if isinstance(value, list | tuple) else value), []).append(name)
    return {" / ".join(names[value]): value for value in sorted(names) if value != 0}


def summary_names(dataset_json: Mapping[str, Any]) -> dict[str, str]:
    """Return {key in nnU-Net's summary.json: name}: a label's number, or a region's tuple of numbers."""
    return {str(value): name for name, value in foreground_classes(dataset_json).items()}


def map_names(dataset_json: Mapping[str, Any]) -> dict[int, str]:
    """Return {value in a label map: name}; with regions, nnU-Net writes ``regions_class_order``."""
    classes = foreground_classes(dataset_json)
    order = dataset_json.get("regions_class_order")
    if order is not None and any(isinstance(value, tuple) for value in classes.values()):
        return dict(zip(map(int, order), classes, strict=True))
    return {value: name for name, value in classes.items() if isinstance(value, int)}
