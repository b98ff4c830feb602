"""Members of a collection that share cases must not train on a case in one and validate on it in another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.data.same_images import images_of, same_images
from nnunet_ext.errors import UserError, more


@dataclass(frozen=True)
class Split:
    """A member's cases in one fold.

    Args:
        dataset: ``Dataset003_Liver``.
        description: Its dataset.json.
        train: Names of the training cases.
        val: Names of the validation cases.
        folds: Number of folds that it has; beyond them nnU-Net draws a random split of its own for each dataset.
    """

    dataset: str
    description: Mapping[str, Any]
    train: Sequence[str]
    val: Sequence[str]
    folds: int


def check_splits(raw: Path, collection: str, fold: int, splits: Sequence[Split]) -> None:
    """Refuse a fold in which a case trains in one member and validates in another, under any name.

    Args:
        raw: The folder nnUNet_raw; without it, links to the same file are not detected, equal file names are.
        collection: ``Dataset900_MOTS``.
        fold: The fold.
        splits: All members'.

    Raises:
        UserError: There is such a case.
    """
    trained, validated = (
        {
            name: images
            for split in splits
            for name, images in images_of(raw, split.dataset, split.description, getattr(split, key)).items()
        }
        for key in ("train", "val")
    )
    both = same_images(trained, validated)
    if not both:
        return
    (training, validation), others = both[0], more(len(both) - 1)
    fewest = min(split.folds for split in splits if validation.startswith(f"{split.dataset}/"))
    fewest = min([fewest, *(split.folds for split in splits if training.startswith(f"{split.dataset}/"))])
    remedy = (
        "Give both datasets the same folds in splits_final.json of nnUNet_preprocessed (a part: delete that file and "
        "the part in nnUNet_raw, then collect and plan again), or leave one out."
        if fold < fewest
        else f"Train one of the {fewest} folds that splits_final.json has."
    )
    raise UserError(
        f"{collection}, fold {fold}: expected no case to train in one member and to validate in another, found "
        f"{validation}, which is trained on as {training}{others}. {remedy}"
    )
