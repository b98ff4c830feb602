"""Which checkpoint a fold's validation belongs to; nnU-Net writes the scores of final and best to the same place."""

from __future__ import annotations

from pathlib import Path

from nnunet_ext.files.json_file import read_json, write_json

FINAL = "checkpoint_final.pth"
FILE = "validated.json"


def write_validated_checkpoint(validation: Path, checkpoint_name: str) -> None:
    """Record which checkpoint was validated.

    Args:
        validation: A fold's folder ``validation``.
        checkpoint_name: ``checkpoint_final.pth`` or ``checkpoint_best.pth``.
    """
    write_json(validation / FILE, {"checkpoint": checkpoint_name})


def validated_checkpoint(validation: Path) -> str:
    """Return the checkpoint whose scores ``validation`` holds; final if nothing is recorded."""
    file = validation / FILE
    return read_json(file)["checkpoint"] if file.is_file() else FINAL
