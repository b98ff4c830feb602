"""Names of a data set's foreground classes."""

from __future__ import annotations

from typing import Any


def summary_names(dataset_json: dict[str, Any]) -> dict[str, str]:
    """Return {key in nnU-Net's summary.json: name}: a label's number, or a region's tuple of numbers."""
    names = {}
    for name, value in dataset_json["labels"].items():
        if name == "ignore" or value == 0:
            continue
        names[str(value) if isinstance(value, int) else str(tuple(value))] = name
    return names


def map_names(dataset_json: dict[str, Any]) -> dict[int, str]:
    """Return {value in a label map: name}; with regions, nnU-Net writes ``regions_class_order``."""
    names = list(summary_names(dataset_json).values())
    order = dataset_json.get("regions_class_order")
    if order is not None:
        return dict(zip(order, names, strict=True))
    return {value: name for name, value in dataset_json["labels"].items() if name in names}
