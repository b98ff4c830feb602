"""``nnunet_ext inspect``."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.errors import UserError


@dataclass
class Inspect(Command):
    """Say what is in a checkpoint, a model's folder or a zip file, without running any of its code.

    nnunet_ext inspect model.zip
    nnunet_ext inspect nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres --json
    nnunet_ext inspect old.pth --trust --rewrite harmless.pth
    """

    name: ClassVar[str] = "inspect"
    after_interruption: ClassVar[str] = "Run the same command again."

    path: Path
    json: bool
    trust: bool
    rewrite: Path | None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("path", metavar="FILE|FOLDER", type=Path, help="checkpoint, model's folder, one of its folds, or zip file")
        add("--json", action="store_true", help="print JSON")
        add("--trust", action="store_true", help=options.TRUST)
        add(
            "--rewrite",
            metavar="FILE",
            type=options.new_or_file,
            help="also write a copy of the checkpoint with only weights and harmless values; lists what is left out",
        )

    def run(self) -> int:
        """Print what is known."""
        from nnunet_ext.inspection.facts_table import facts_table
        from nnunet_ext.inspection.inspect_path import inspect_path

        facts = inspect_path(self.path, trust=self.trust)
        if self.rewrite is not None:
            facts["rewritten"] = self._rewritten(self.rewrite)
        print(json.dumps(facts, indent=4) if self.json else facts_table(facts))
        return 0

    def _rewritten(self, target: Path) -> dict[str, object]:
        if not self.path.is_file() or self.path.suffix.lower() == ".zip":
            raise UserError(f"--rewrite: expected a checkpoint to copy, got {self.path}. Give the file of one.")
        from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint
        from nnunet_ext.inspection.harmless_copy import harmless_copy

        left_out = harmless_copy(read_foreign_checkpoint(self.path, trust=self.trust), target)
        return {"file": str(target), "left_out": left_out or "nothing"}
