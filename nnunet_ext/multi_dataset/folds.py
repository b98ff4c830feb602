"""The folds of a data set, and what is left of them for some of its cases."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from nnunet_ext.base.json_file import read_json
from nnunet_ext.errors import UserError

STOCK_FOLDS = 5
FILE = "splits_final.json"

Folds = list[dict[str, list[str]]]


def default_folds(cases: Collection[str]) -> Folds:
    """Return nnU-Net's five folds, or as many folds as there are cases where five are too many."""
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    names = sorted(cases)
    if len(names) >= STOCK_FOLDS:
        return [{key: list(map(str, fold[key])) for key in fold} for fold in generate_crossval_split(names)]
    return [{"train": [other for other in names if other != name], "val": [name]} for name in names]


def folds_of(places: Sequence[Path], cases: Collection[str]) -> Folds:
    """Return a data set's folds.

    Args:
        places: The data set's folders; the first one with a splits_final.json has the folds.
        cases: All its cases, for nnU-Net's default where no folder has one.

    Raises:
        UserError: A splits_final.json is damaged.
    """
    for place in places:
        if (place / FILE).is_file():
            found = read_json(place / FILE)
            if not _are_folds(found):
                raise UserError(
                    f'{place / FILE}: expected a list of {{"train": [...], "val": [...]}}, got something else. '
                    f"Restore it, or delete it for nnU-Net's default."
                )
            return [{"train": list(fold["train"]), "val": list(fold["val"])} for fold in found]
    return default_folds(cases)


def restrict(folds: Folds, cases: Collection[str]) -> Folds:
    """Return the same folds, same numbers, with only these cases; a fold may lose all it validated on."""
    kept = set(cases)
    return [{key: [case for case in fold[key] if case in kept] for key in ("train", "val")} for fold in folds]


def _are_folds(found: Any) -> bool:
    return isinstance(found, list) and all(
        isinstance(fold, dict)
        and all(isinstance(fold.get(key), list) and all(map(_is_text, fold[key])) for key in ("train", "val"))
        for fold in found
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
