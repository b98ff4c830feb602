"""Markers that say which plans a member's preprocessed data belong to, and whether they are all there.

Stock preprocessing deletes the data folder first and may be killed half-way. So a marker lies beside the folder,
``<data_identifier>.complete.json``; it is removed before and written after preprocessing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_ext.base.json_file import read_json
from nnunet_ext.errors import UserError
from nnunet_ext.multi_dataset.task_table import TaskTable

OF_PLANS = (
    "image_reader_writer",
    "transpose_forward",
    "transpose_backward",
    "label_manager",
    "foreground_intensity_properties_per_channel",
)
OF_CONFIGURATION = (
    "preprocessor_name",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
)
OF_DATASET = ("labels", "regions_class_order")  # say where the loader may look for which class


def write_marker(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> None:
    """Record that the data are complete.

    Args:
        member_folder: The member's folder in nnUNet_preprocessed.
        plans: The member's plans.
        configuration: The configuration that was preprocessed.
    """
    content = {
        "plans": preprocessing_hash(member_folder, plans, configuration),
        "files": _files(_data(member_folder, plans, configuration)),
    }
    marker = _marker(member_folder, plans, configuration)
    partial = marker.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    partial.replace(marker)


def remove_marker(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> None:
    """Record that the data are about to change."""
    _marker(member_folder, plans, configuration).unlink(missing_ok=True)


def is_complete(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> bool:
    """Whether the data are there as these plans describe them."""
    return _problem(member_folder, plans, configuration) is None


def check_complete(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> None:
    """Refuse to train on data that are not there as these plans describe them.

    Raises:
        UserError: Never preprocessed, deleted, or planned or preprocessed again since.
    """
    problem = _problem(member_folder, plans, configuration)
    if problem is not None:
        raise UserError(
            f"{_data(member_folder, plans, configuration)}: expected preprocessed data of plans "
            f"{plans['plans_name']!r}, {problem}. Run {_command(plans, configuration)}"
        )


def marked_cases(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> list[str]:
    """Return the cases that a marker lists, sorted; none without a marker."""
    marker = _marker(member_folder, plans, configuration)
    names = read_json(marker)["files"] if marker.is_file() else ()
    return sorted(name.removesuffix(".pkl") for name in names if name.endswith(".pkl"))


def _problem(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> str | None:
    marker = _marker(member_folder, plans, configuration)
    data = _data(member_folder, plans, configuration)
    if not data.is_dir():
        return f"found {'them deleted' if marker.is_file() else 'none: they were never preprocessed'}"
    if not marker.is_file():
        return f"found some without {marker.name}: preprocessing was interrupted, or another command did it"
    found = read_json(marker)
    if found["plans"] != preprocessing_hash(member_folder, plans, configuration):
        return "found those of earlier plans or labels: the member was planned again since it was preprocessed"
    if (there := _files(data)) != found["files"]:
        names = sorted({name for name, _ in there.items() ^ found["files"].items()})
        several = len(names) > 1
        return f"found {len(names)} file{'s' * several} changed, missing or new ({names[0]}{' first' * several})"
    return None


def _command(plans: Mapping[str, Any], configuration: str) -> str:
    table, planner = TaskTable.read(plans), plans["experiment_planner_used"]
    if table is None:
        return (
            f"nnUNetv2_preprocess -d {plans['dataset_name'][7:10]} -plans_name {plans['plans_name']} -c {configuration}"
        )
    command = f"nnunet_ext plan_and_preprocess -d {int(table.collection[7:10])} -pl {planner}"
    name = _identifier(plans, configuration).removesuffix(f"_{table.collection}_{configuration}")
    default = planner.removesuffix("Planner") + "Plans"
    return command if name == default else f"{command} -overwrite_plans_name {name}"


def preprocessing_hash(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> str:
    """Return a hash of all that preprocessing depends on."""
    places = (
        (plans, OF_PLANS),
        (plans["configurations"][configuration], OF_CONFIGURATION),
        (read_json(member_folder / "dataset.json"), OF_DATASET),
    )
    content = [{key: place.get(key) for key in keys} for place, keys in places]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _files(data: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in sorted(data.iterdir())}


def _data(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> Path:
    return member_folder / _identifier(plans, configuration)


def _marker(member_folder: Path, plans: Mapping[str, Any], configuration: str) -> Path:
    return member_folder / f"{_identifier(plans, configuration)}.complete.json"


def _identifier(plans: Mapping[str, Any], configuration: str) -> str:
    return plans["configurations"][configuration]["data_identifier"]
