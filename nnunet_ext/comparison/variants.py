"""Plans with other knobs for the same preprocessed data."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nnunet_ext.base import knobs
from nnunet_ext.base.method import methods
from nnunet_ext.collection.task_table import TaskTable, member_plans_name
from nnunet_ext.data.plans_file import check_plans_name
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import write_json
from nnunet_ext.stock import folders

NO_CHANGES: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


def write_variant(
    dataset: str,
    plans_name: str,
    new_name: str,
    settings: Sequence[str],
    configurations: Mapping[str, Mapping[str, Any]] = NO_CHANGES,
) -> Path:
    """Write a second plans file, and those of all members of a collection; return it.

    Args:
        dataset: Number or name.
        plans_name: The plans to start from.
        new_name: Name of the new plans.
        settings: ``KEY=VALUE``.
        configurations: Patch and batch size by configuration, which the preprocessed data do not depend on.

    Raises:
        UserError: The name is invalid or taken, a knob is unknown, a block of a configuration overrides it, or the
            network cannot halve the patch.
    """
    block = knobs.parse(settings)
    check_plans_name(new_name)
    if new_name == plans_name:
        raise UserError(f"--as {new_name}: expected a name that differs from -p, got the same. Choose a new one.")
    plans = deepcopy(folders.plans(dataset, plans_name))
    knobs.put(plans, block)
    plans["plans_name"] = new_name
    for name, entries in configurations.items():
        _change(plans, name, entries)
    for configuration in plans["configurations"]:
        _check_effect(block, knobs.resolve(plans, configuration), configuration)
    file = folders.dataset("nnUNet_preprocessed", dataset) / f"{new_name}.json"
    variants = _of_members(dataset, plans_name, new_name, block) | {file: plans}  # the collection's last
    for each, content in variants.items():
        _check_new(each, content)
    for each, content in variants.items():
        _write_new(each, content)
    return file


def _change(plans: dict[str, Any], name: str, entries: Mapping[str, Any]) -> None:
    """Change patch and batch size of a configuration, in place."""
    planned = plans["configurations"].get(name)
    if planned is None or TaskTable.read(plans) is not None:
        raise UserError(
            f"plans {plans['plans_name']!r}: expected those of one dataset, with the configuration {name!r}, to change "
            f"its patch and batch size, found others. Keep them (--keep_patch)."
        )
    strides = planned["architecture"]["arch_kwargs"]["strides"]
    divisor = [math.prod(steps) for steps in zip(*strides, strict=True)]
    patch = entries.get("patch_size", planned["patch_size"])
    if any(size % step for size, step in zip(patch, divisor, strict=True)):
        raise UserError(
            f"plans {plans['plans_name']!r}, configuration {name!r}: expected a network for a patch of {patch}, found "
            f"one that takes multiples of {divisor}. Keep the patch (--keep_patch)."
        )
    planned.update(entries)


def _of_members(dataset: str, plans_name: str, new_name: str, block: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """Return the variants of a collection's members, which are trained with the same knobs, by file."""
    table = TaskTable.read(folders.plans(dataset, plans_name))
    if table is None or table.bound is not None:
        return {}
    variants = {}
    for task in table.tasks:
        plans = deepcopy(folders.plans(task.dataset, member_plans_name(plans_name, table.collection)))
        knobs.put(plans, block)
        plans["plans_name"] = member_plans_name(new_name, table.collection)
        variants[folders.dataset("nnUNet_preprocessed", task.dataset) / f"{plans['plans_name']}.json"] = plans
    return variants


def _check_new(file: Path, plans: dict[str, Any]) -> None:
    """Refuse to overwrite plans; the same ones are fine.

    Raises:
        UserError: Different plans of that name are there.
    """
    if file.exists() and folders.read_json(file) != plans:
        raise UserError(
            f"{file}: expected no plans of that name, found different ones. Choose another name after --as."
        )


def _write_new(file: Path, plans: dict[str, Any]) -> None:
    """Write plans completely or not at all.

    Raises:
        UserError: A different file of that name is there, or the folder cannot be written.
    """
    if not file.exists():
        with contextlib.suppress(FileExistsError):  # another process wrote it at the same moment
            write_json(file, plans, new=True)
    _check_new(file, plans)


def _check_effect(block: dict[str, Any], resolved: dict[str, Any], configuration: str) -> None:
    """Refuse a knob that the configuration's own block overrides with another value."""
    for key, value in block.items():
        wanted = {(key, name): inner for name, inner in value.items()} if key in methods() else {(key,): value}
        for path, setting in wanted.items():
            kept = resolved[path[0]][path[1]] if len(path) == 2 else resolved[key]
            if kept != setting:
                raise UserError(
                    f"--set {'.'.join(path)}={setting!r}: expected to take effect, but configuration "
                    f"{configuration!r} has a block of its own that keeps {kept!r}. Remove it there first."
                )
