"""The classes that plans from somebody else name, which nnU-Net imports and calls with what the plans say."""

from __future__ import annotations

import pydoc
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from nnunet_ext.errors import UserError

# packages whose modules do nothing when they are imported
PACKAGES = ("torch.nn.", "dynamic_network_architectures.")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")


def check_class_names(plans: Mapping[str, Any], place: object) -> None:
    """Refuse plans that name anything but parts of networks where nnU-Net imports and calls what they name.

    Plans with ``"nonlin": "subprocess.Popen"`` and fitting ``nonlin_kwargs`` would start a program.

    Args:
        plans: Plans of nnU-Net v2, of any version.
        place: Their file, for messages.

    Raises:
        UserError: A class is not a ``torch.nn.Module`` of torch or dynamic_network_architectures, or the plans are no
            plans of nnU-Net.

    Example:
        >>> architecture = {"network_class_name": "os.system", "arch_kwargs": {}, "_kw_requires_import": []}
        >>> check_class_names({"configurations": {"2d": {"architecture": architecture}}}, "plans.json")
        Traceback (most recent call last):
        ...
        nnunet_ext.errors.UserError: plans.json: expected classes of networks, but ...
    """
    if (odd := _odd_part(plans)) is not None:
        raise UserError(
            f"{place}: expected plans as nnU-Net writes them, found {odd[1]} for {odd[0]}. Restore the file, or take "
            f"another model."
        )
    for configuration, name in _named(plans):
        if not _is_network(name):
            raise UserError(
                f"{place}: expected classes of networks, but configuration {configuration!r} names {str(name)[:80]!r}, "
                f"which nnU-Net would call. Only if you know who made the model, add --trust where the command has it."
            )


def _odd_part(plans: Any) -> tuple[str, str] | None:
    """Return the first part of plans, and what it is, that is not of the type that the search for classes needs."""
    if not isinstance(plans, Mapping):
        return "the plans", type(plans).__name__
    configurations = plans.get("configurations", {})
    if not isinstance(configurations, dict):
        return "configurations", type(configurations).__name__
    for name, planned in configurations.items():
        if not isinstance(planned, dict):
            return f"configuration {name!r}", type(planned).__name__
        architecture = planned.get("architecture", {})
        if not isinstance(architecture, dict):
            return f"architecture of configuration {name!r}", type(architecture).__name__
        if not isinstance(arguments := architecture.get("arch_kwargs", {}), dict):
            return f"arch_kwargs of configuration {name!r}", type(arguments).__name__
        imported = architecture.get("_kw_requires_import", ())
        if not isinstance(imported, list | tuple) or not all(isinstance(key, str) for key in imported):
            return f"_kw_requires_import of configuration {name!r}", f"{type(imported).__name__}, not a list of text"
    return None


def _named(plans: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, planned in plans.get("configurations", {}).items():
        if "UNet_class_name" in planned:  # nnU-Net up to 2.3
            yield name, f"dynamic_network_architectures.architectures.unet.{planned['UNet_class_name']}"
        if "architecture" in planned:
            architecture = planned["architecture"]
            yield name, architecture.get("network_class_name")
            arguments = architecture.get("arch_kwargs", {})
            for key in architecture.get("_kw_requires_import", ()):
                if arguments.get(key) is not None:
                    yield name, arguments[key]


def _is_network(name: Any) -> bool:
    if not isinstance(name, str) or not NAME.fullmatch(name) or not name.startswith(PACKAGES):
        return False
    try:
        found = pydoc.locate(name)
    except pydoc.ErrorDuringImport:
        return False
    return found is None or (isinstance(found, type) and issubclass(found, nn.Module))
