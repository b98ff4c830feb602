"""The predictions of a cross-validation, fold by fold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from nnunet_ext.challenges.challenge import Challenge
from nnunet_ext.challenges.matched_cases import MatchedCase, match_cases
from nnunet_ext.errors import UserError


def fold_cases(
    challenge: Challenge, predictions: Path, references: Path, parts: int
) -> Mapping[str, tuple[MatchedCase, ...]]:
    """Find the predicted cases, and share them out.

    Args:
        challenge: It says where files lie.
        predictions: The folder of a trained model, whose ``fold_0/validation`` and so on are taken; or a folder of
            predictions of cases that were not trained on.
        references: Folder.
        parts: Into how many parts the cases are shared, by turns in the order of their names, if there are no folds, or
            just one.

    Returns:
        Cases by fold, which is ``fold 0`` or ``part 1``.

    Raises:
        UserError: There are fewer than two cases, one is in two folds, or one has no reference.
    """
    folders = _validation_folders(predictions)
    found = {
        fold: match_cases(challenge, folder, references, missing="skip", extra="error").cases
        for fold, folder in folders.items()
    }
    cases = [case for each in found.values() for case in each]
    twice = [name for name, count in Counter(case.name for case in cases).items() if count > 1]
    if twice:
        raise UserError(
            f"{predictions}: expected each case in one fold, found {twice[0]!r} in several. Give predictions of cases "
            f"that the fold was not trained on."
        )
    if len(cases) < 2:
        raise UserError(
            f"{predictions}: expected predictions of at least two cases, to learn on some and to test on others, found "
            f"{len(cases)}. Predict more."
        )
    if len(found) > 1:
        return found
    parts = min(parts, len(cases))
    return {f"part {part + 1}": tuple(cases[part::parts]) for part in range(parts)}


def _validation_folders(predictions: Path) -> dict[str, Path]:
    found = {
        int(match[1]): folder / "validation"
        for folder in predictions.glob("fold_*")
        if (match := re.fullmatch(r"fold_(\d+)", folder.name)) and (folder / "validation").is_dir()
    }
    if found:
        return {f"fold {number}": found[number] for number in sorted(found)}
    if (predictions / "fold_all").is_dir():
        raise UserError(
            f"{predictions}: expected folds with predictions of cases that they were not trained on, found only "
            f"fold_all. Train folds, or give a folder of other predictions."
        )
    return {"": predictions}
