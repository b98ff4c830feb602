"""Model folders of nnU-Net v2 that are written whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from nnunet_ext.collection.prediction.view_weights import clone
from nnunet_ext.errors import UserError, is_write_error, one_line
from nnunet_ext.files.json_file import write_json

CHECKPOINT = "checkpoint_final.pth"


@dataclass(frozen=True, repr=False)
class ModelFolder:
    """What a model holds besides weights.

    Args:
        place: The folder ``TRAINER__PLANS__CONFIGURATION``.
        plans: Its plans.
        dataset_json: Its dataset.json.
        fingerprint: Its dataset_fingerprint.json.
    """

    place: Path
    plans: Mapping[str, Any]
    dataset_json: Mapping[str, Any]
    fingerprint: Mapping[str, Any]

    def check_new(self) -> None:
        """Refuse a folder that exists.

        Raises:
            UserError: It does.
        """
        if self.place.exists() or self.place.is_symlink():
            raise UserError(
                f"{self.place}: expected no such model yet, found one. Choose another with -d and -n, or -o, or remove "
                f"it."
            )


def write_models(
    models: Sequence[ModelFolder], checkpoints: Mapping[str, Mapping[str, Any]], *, show_progress: bool = False
) -> None:
    """Write models that have the same weights; none of them appears before all are complete.

    Where the file system clones, the weights are on disk only once.

    Args:
        models: The models.
        checkpoints: Content of the checkpoint of each fold.
        show_progress: Show a progress bar.

    Raises:
        UserError: One of the folders exists, or nothing can be written; no model is left then.
    """
    for model in models:
        model.check_new()
    renamed: list[Path] = []
    with contextlib.ExitStack() as stack:
        try:
            drafts = [stack.enter_context(_draft(model.place)) for model in models]
            for model, draft in zip(tqdm(models, "writing", disable=not show_progress), drafts, strict=True):
                write_json(draft / "plans.json", model.plans)
                write_json(draft / "dataset.json", model.dataset_json)
                write_json(draft / "dataset_fingerprint.json", model.fingerprint)
                for fold, checkpoint in checkpoints.items():
                    file = draft / f"fold_{fold}" / CHECKPOINT
                    file.parent.mkdir()
                    if draft == drafts[0]:
                        torch.save(dict(checkpoint), file)
                    else:
                        _copy(drafts[0] / file.parent.name / CHECKPOINT, file)
            for model, draft in zip(models, drafts, strict=True):
                draft.rename(model.place)
                renamed.append(model.place)
        except (OSError, RuntimeError) as error:
            for place in renamed:
                shutil.rmtree(place, ignore_errors=True)
            if isinstance(error, UserError) or not is_write_error(error):
                raise
            raise UserError(
                f"{models[0].place}: expected to write a model, got {one_line(error)!r}. Free space, or correct the "
                f"permissions of its folder."
            ) from error


@contextlib.contextmanager
def _draft(place: Path) -> Iterator[Path]:
    """A folder beside ``place`` to be renamed to it; if that did not happen, nothing of it is left."""
    new = [folder for folder in place.parents if not folder.exists()]
    draft = place.with_name(f".{place.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    draft.mkdir(parents=True)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        for folder in new:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


def _copy(file: Path, target: Path) -> None:
    try:
        clone(file, target)
    except OSError:
        shutil.copy2(file, target)
