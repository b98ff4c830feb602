"""The JSON that each finished run of ``nnunet_ext compare`` leaves."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nnunet_ext import __version__
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json
from nnunet_ext.processes.cores import usable_cores

FORMAT = 1
RUN = ("name", "trainer", "knobs", "dataset", "plans", "configuration", "fold", "seed", "scored")
DIGESTS = ("plans_sha256", "cases_sha256")
DATA = "data"  # nnunet_ext.base.trained_on
NEEDED = (*RUN, *DIGESTS, "training_seconds", "cases")


def read_record(file: Path) -> dict[str, Any]:
    """Read a finished run's record.

    Raises:
        UserError: The file is not a record.
    """
    record = read_json(file)
    if not isinstance(record, dict) or record.get("format") != FORMAT or not set(NEEDED) <= set(record):
        raise UserError(f"{file}: expected the record of a run, format {FORMAT}, got another file. Move it elsewhere.")
    return record


def hardware(device: str) -> dict[str, Any]:
    """Describe the training hardware."""
    from torch import cuda

    described = {"device": device, "machine": platform.machine(), "cores": usable_cores()}
    return described | ({"gpu": cuda.get_device_name(0)} if device == "cuda" else {})


def versions() -> dict[str, str]:
    """Return the versions that matter."""
    others = {name: version(name) for name in ("nnunetv2", "torch", "numpy")}
    return {"nnunet_ext": __version__, "python": platform.python_version(), **others}


def check_alike(records: Sequence[dict[str, Any]]) -> None:
    """Refuse to compare runs of one fold that are scored on different cases, files or classes.

    Args:
        records: Only ``name``, ``fold``, ``cases`` and ``cases_sha256`` are read; of the cases' scores only the
            classes.

    Raises:
        UserError: The first two that differ.
    """
    first: dict[str, dict[str, Any]] = {}
    for record in records:
        other = first.setdefault(record["fold"], record)
        classes = [sorted(next(iter(each["cases"].values()))) for each in (record, other)]
        same_files = record["cases_sha256"] == other["cases_sha256"]
        if record["cases"].keys() != other["cases"].keys() or classes[0] != classes[1] or not same_files:
            raise UserError(
                f"fold {record['fold']}: expected all runs to be scored on the same cases, files and classes, got "
                f"others for {record['name']!r} ({len(record['cases'])} cases) than for {other['name']!r} "
                f"({len(other['cases'])}). Choose another -o."
            )
