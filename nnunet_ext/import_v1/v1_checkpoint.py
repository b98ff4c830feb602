"""Checkpoints of nnU-Net v1, and what lies beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nnunet_ext.errors import UserError
from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint
from nnunet_ext.foreign.pickle_file import read_foreign_pickle

FINAL = "model_final_checkpoint.model"
FILE_HINT = f"a file such as fold_0/{FINAL}, or the folder of the v1 model"
WEIGHTS = "state_dict"
WRAPPER = "module."  # of DataParallel
BATCH_DICE, STAGE = 4, 5  # places among the arguments of v1's trainer, which it stores
STAGE_OF_FOLDER = {"3d_lowres": 0}


@dataclass(frozen=True, repr=False)
class V1Checkpoint:
    """A checkpoint of nnU-Net v1.

    Args:
        file: The file.
        weights: Its state dict.
        epoch: Epochs of the training, if it says so.
        stored: What the checkpoint holds besides weights, and what the file ``FILE.pkl`` beside it holds: v1 writes the
            trainer's name (``name``), its arguments (``init``) and the plans (``plans``) there.
    """

    file: Path
    weights: Mapping[str, Tensor]
    epoch: int | None
    stored: Mapping[str, Any]

    @classmethod
    def read(cls, file: Path, *, trust: bool = False) -> V1Checkpoint:
        """Read a checkpoint; nothing in it is run.

        Args:
            file: The file, a dict with ``state_dict``, or the state dict alone.
            trust: Let pickle run what the file names.

        Raises:
            UserError: It is not a checkpoint, or holds what could run code.
        """
        content: Any = read_foreign_checkpoint(file, trust=trust)
        found = content.get(WEIGHTS, content) if isinstance(content, Mapping) else None
        if not isinstance(found, Mapping) or not found or not all(isinstance(each, Tensor) for each in found.values()):
            raise UserError(
                f"{file}: expected a checkpoint of nnU-Net v1 with tensors under {WEIGHTS!r}, found none. Give "
                f"{FILE_HINT}."
            )
        wrapped = all(str(name).startswith(WRAPPER) for name in found)
        weights = {str(name).removeprefix(WRAPPER) if wrapped else str(name): each for name, each in found.items()}
        stored = {name: each for name, each in content.items() if name != WEIGHTS} if found is not content else {}
        beside = file.with_name(f"{file.name}.pkl")
        if beside.is_file():
            more = read_foreign_pickle(beside, trust=trust)
            stored |= dict(more) if isinstance(more, Mapping) else {}
        epoch = stored.get("epoch")
        return cls(file, weights, epoch if isinstance(epoch, int) else None, stored)

    @property
    def trainer(self) -> str:
        """Name of v1's trainer; empty if it is not stored."""
        name = self.stored.get("name")
        return name if isinstance(name, str) else ""

    @property
    def stage(self) -> tuple[int, str] | None:
        """Number of the stage in the v1 plans that was trained, and where it was found; None if nothing says so."""
        stage = self._argument(STAGE)
        if isinstance(stage, int):
            return stage, f"{self.file.name}.pkl"
        named = next((part for part in self.file.absolute().parts if part in STAGE_OF_FOLDER), None)
        return None if named is None else (STAGE_OF_FOLDER[named], f"the folder {named}")

    @property
    def batch_dice(self) -> bool:
        """Whether the loss took Dice over the batch; False if nothing says so."""
        return self._argument(BATCH_DICE) is True

    @property
    def mirroring(self) -> tuple[list[int] | None, str] | None:
        """Axes along which the training mirrored, and where that was found; None if nothing says so."""
        settings = self.stored.get("data_aug_params")
        if isinstance(settings, Mapping) and isinstance(settings.get("do_mirror", True), bool):
            if not settings.get("do_mirror", True):
                return None, "data_aug_params in the checkpoint"
            if isinstance(settings.get("mirror_axes"), list | tuple):
                return [int(axis) for axis in settings["mirror_axes"]], "data_aug_params in the checkpoint"
        if re.search("nomirror", self.trainer, re.IGNORECASE):
            return None, f"v1's trainer {self.trainer}"
        return None

    def _argument(self, place: int) -> Any:
        arguments = self.stored.get("init")
        known = isinstance(arguments, list | tuple) and len(arguments) > place
        return arguments[place] if known and arguments is not None else None


def find_checkpoints(source: Path) -> dict[str, Path]:
    """Return the checkpoints of a v1 model by their folds.

    Args:
        source: A checkpoint, a fold's folder or the folder of a v1 model, which holds folders ``fold_0`` and so on.

    Returns:
        Files by fold, such as ``{"0": ...}``; a file of its own is fold 0, unless its folder is named ``fold_N``.

    Raises:
        UserError: There is none.
    """
    if source.is_dir():
        files = [source / FINAL] if (source / FINAL).is_file() else sorted(source.glob(f"fold_*/{FINAL}"))
    else:
        files = [source] if source.is_file() else []
    found = {_fold(file): file for file in files}
    if not found:
        raise UserError(f"{source}: expected a checkpoint of nnU-Net v1, found none. Give {FILE_HINT}.")
    return found


def _fold(file: Path) -> str:
    name = file.absolute().parent.name.removeprefix("fold_")
    named = file.absolute().parent.name.startswith("fold_")
    return name if named and (name == "all" or re.fullmatch("[0-9]+", name)) else "0"
