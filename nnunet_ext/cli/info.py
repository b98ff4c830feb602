"""``nnunet_ext info``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nnunet_ext.cli.command import Command


@dataclass
class Info(Command):
    """TODO."""

    name: ClassVar[str] = "info"
