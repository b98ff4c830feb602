"""``nnunet_ext sockets``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nnunet_ext.cli.common.command import Command
from nnunet_ext.sockets import folder


@dataclass
class Sockets(Command):
    """Print the folder for nnU-Net's variable nnUNet_extTrainer.

    Let stock commands find our trainers: export nnUNet_extTrainer="$(nnunet_ext sockets)"
    """

    name: ClassVar[str] = "sockets"

    def run(self) -> int:
        """Print the folder."""
        print(folder("trainers"))
        return 0
