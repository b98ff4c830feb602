"""``nnunet_ext demo``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nnunet_ext.cli.command import Command


@dataclass
class Demo(Command):
    """TODO."""

    name: ClassVar[str] = "demo"
