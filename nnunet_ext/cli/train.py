"""``nnunet_ext train``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nnunet_ext.base.nearest import nearest
from nnunet_ext.cli import folders
from nnunet_ext.cli.command import Command
from nnunet_ext.cli.lookup import check_trainer
from nnunet_ext.cli.stock import option, run_stock
from nnunet_ext.errors import UserError
from nnunet_ext.sockets import open_door


@dataclass
class Train(Command):
    """Open the door, check the words and hand all of them to nnUNetv2_train."""

    name: ClassVar[str] = "train"

    words: list[str]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Train:
        """Keep every word: the stock entry point reads them."""
        return cls(list(arguments))

    def run(self) -> int:
        """Train with nnU-Net's entry point."""
        open_door()
        if not {"-h", "--help"} & set(self.words):
            self._check()
        from nnunetv2.run.run_training import run_training_entry

        run_stock("nnUNetv2_train", run_training_entry, self.words)
        return 0

    def _check(self) -> None:
        if len(self.words) < 3 or any(word.startswith("-") for word in self.words[:3]):
            raise UserError(
                f"expected DATASET CONFIGURATION FOLD first, got {' '.join(self.words[:3])!r}. "
                f"Example: nnunet_ext train 4 3d_fullres 0 -tr BANetTrainer -p LitePlans -device cpu"
            )
        dataset, configuration = self.words[:2]
        folders.folder("nnUNet_results", writable=True)
        check_trainer(option(self.words, "-tr", "nnUNetTrainer") or "")
        plans_name = option(self.words, "-p", "nnUNetPlans") or ""
        plans = folders.plans(dataset, plans_name)
        if configuration not in plans["configurations"]:
            raise UserError(
                f"plans {plans_name!r}: unknown configuration {configuration!r}. "
                f"{nearest(configuration, plans['configurations'])}"
            )
        if option(self.words, "-device", "cuda") == "cuda":
            import torch

            if not torch.cuda.is_available():
                raise UserError("-device cuda: expected a GPU, torch finds none. Add -device cpu, or see nnunet_ext doctor.")
