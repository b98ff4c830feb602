"""``nnunet_ext doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nnunet_ext.cli.command import Command


@dataclass
class Doctor(Command):
    """TODO."""

    name: ClassVar[str] = "doctor"
