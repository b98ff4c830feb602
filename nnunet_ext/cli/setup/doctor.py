"""``nnunet_ext doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nnunet_ext import __version__
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.setup.check import FAIL
from nnunet_ext.cli.setup.doctor_checks import CHECKS


@dataclass
class Doctor(Command):
    """Check the installation (versions, folders, nnUNet_extTrainer, GPU) and suggest fixes.

    The exit code is 0 if nothing fails (warnings are fine) and 1 otherwise.
    """

    name: ClassVar[str] = "doctor"

    def run(self) -> int:
        """Print each check as soon as it is done."""
        print(f"nnunet_ext {__version__}")
        failed = False
        for check in CHECKS:
            found = check()
            failed |= found.status == FAIL
            print(found, flush=True)
        return int(failed)
