"""Trained models in nnUNet_results, checked before anything is started."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nnunet_ext.errors import UserError
from nnunet_ext.stock import folders


def model_folder(dataset: str, configuration: str, trainer: str, plans_name: str) -> Path:
    """Return the folder of a trained model.

    Raises:
        UserError: There is none; the message lists existing models.
    """
    results = folders.dataset("nnUNet_results", dataset)
    model = results / f"{trainer}__{plans_name}__{configuration}"
    if not (model / "dataset.json").is_file():
        trained = sorted(path.parent.name for path in results.glob("*__*__*/dataset.json"))
        raise UserError(
            f"{model}: expected a trained model, found none. Trained here (-tr__-p__-c): "
            f"{', '.join(trained) or 'nothing'}."
        )
    return model


def check_folds(model: Path, wanted: Sequence[str], checkpoint: str, trust: bool = False) -> None:
    """Refuse folds whose checkpoint is missing, is not intact or may run code when nnU-Net reads it.

    Args:
        model: Folder ``TRAINER__PLANS__CONFIGURATION``.
        wanted: Names of the folds.
        checkpoint: Name of the checkpoint.
        trust: Let it run code.

    Raises:
        UserError: The first such fold.
    """
    from nnunet_ext.base.checkpoints import read_checkpoint

    for fold in wanted:
        file = model / f"fold_{fold}" / checkpoint
        if file.is_symlink() and not file.exists():
            raise UserError(
                f"{file}: expected the checkpoint that the tasks of a collection share, "
                f"{os.path.normpath(file.parent.resolve() / os.readlink(file))}, found it gone. Restore that file, or "
                f"train the collection again."
            )
        if not file.is_file():
            present = sorted(path.parent.name.removeprefix("fold_") for path in model.glob(f"fold_*/{checkpoint}"))
            remedy = f"Trained: -f {' '.join(present)}" if present else "Finish a training, or choose with -chk"
            raise UserError(f"{file}: expected the checkpoint of fold {fold}, found no file. {remedy}.")
        read_checkpoint(file, trust)
