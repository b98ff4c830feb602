"""The folds of a dataset, what is left of them for some of its cases, and whether they fit the preprocessed cases."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from nnunet_ext.errors import UserError, more
from nnunet_ext.files.json_file import read_json

STOCK_FOLDS = 5
FILE = "splits_final.json"
UNUSED = "unused"  # a fold may list cases that no fold uses; nnU-Net ignores the key
SITE = "site"  # a fold may name the site that it validates on; nnU-Net ignores this key, too
DEFAULT = "or delete the file for nnU-Net's default"

Folds = list[dict[str, list[str]]]


def default_folds(cases: Collection[str]) -> Folds:
    """Return nnU-Net's five folds, or as many folds as there are cases where five are too many."""
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    names = sorted(cases)
    if len(names) >= STOCK_FOLDS:
        return [{key: list(map(str, fold[key])) for key in fold} for fold in generate_crossval_split(names)]
    return [{"train": [other for other in names if other != name], "val": [name]} for name in names]


def folds_of(places: Sequence[Path], cases: Collection[str]) -> Folds:
    """Return a dataset's folds.

    Args:
        places: The dataset's folders; the first one with a splits_final.json has the folds.
        cases: All its cases, for nnU-Net's default where no folder has one.

    Raises:
        UserError: A splits_final.json is damaged.
    """
    for place in places:
        if (place / FILE).is_file():
            return _read(place / FILE)
    return default_folds(cases)


def split_of(folder: Path, cases: Collection[str], fold: int | str) -> tuple[list[str], list[str]]:
    """Return a fold's training and validation cases; for ``"all"`` all cases twice, beyond the last fold none.

    Args:
        folder: The dataset's folder in nnUNet_preprocessed.
        cases: All its preprocessed cases.
        fold: The fold.

    Raises:
        UserError: splits_final.json is damaged.
    """
    if fold == "all":
        return sorted(cases), sorted(cases)
    folds = folds_of([folder], cases)
    return (folds[int(fold)]["train"], folds[int(fold)]["val"]) if int(fold) < len(folds) else ([], [])


def unused_cases(folder: Path) -> set[str]:
    """Return the cases that the folds list as unused, and none of them uses.

    Args:
        folder: The dataset's folder in nnUNet_preprocessed.

    Raises:
        UserError: splits_final.json is damaged.
    """
    folds = _read(folder / FILE) if (folder / FILE).is_file() else []
    listed = {case for fold in folds for case in fold.get(UNUSED, [])}
    return listed - {case for fold in folds for key in ("train", "val") for case in fold[key]}


def fold_sites(folder: Path) -> list[str]:
    """Return the site that each fold validates on; nothing if the folds are not those of sites.

    Args:
        folder: The dataset's folder in nnUNet_preprocessed.

    Raises:
        UserError: splits_final.json is damaged.
    """
    file = folder / FILE
    found = read_json(file) if file.is_file() and _read(file) else []
    sites = [fold.get(SITE) for fold in found]
    return sites if all(isinstance(site, str) for site in sites) else []


def case_sites(folder: Path) -> dict[str, str]:
    """Return the site of each case that a fold of a site validates on; nothing if the folds are not those of sites."""
    sites = fold_sites(folder)
    folds = _read(folder / FILE) if sites else []
    return {case: site for site, fold in zip(sites, folds, strict=True) for case in fold["val"]}


def fold_site(folder: Path, fold: int | str) -> str | None:
    """Return the site that a fold validates on, if its folds are those of sites."""
    sites = fold_sites(folder)
    return None if fold == "all" or int(fold) >= len(sites) else sites[int(fold)]


def with_sites(folds: Folds, places: Sequence[Path]) -> list[dict[str, Any]]:
    """Return folds with the sites of those that they were made from, if these are folds of sites.

    Args:
        folds: As many as before.
        places: As for :func:`folds_of`.
    """
    place = next((place for place in places if (place / FILE).is_file()), None)
    sites = fold_sites(place) if place else []
    return [fold | {SITE: site} for fold, site in zip(folds, sites, strict=True)] if sites else list(folds)


def restrict(folds: Folds, cases: Collection[str]) -> Folds:
    """Return the same folds under the same numbers with only these cases; a fold may lose all its validation cases."""
    kept = set(cases)
    return [{key: [case for case in names if case in kept] for key, names in fold.items()} for fold in folds]


def check_fold(folder: Path, cases: Collection[str], fold: int | str, *, of_member: bool = False) -> None:
    """Refuse a fold that does not fit the preprocessed cases, before stock code crashes or leaves cases out.

    Args:
        folder: The dataset's folder in nnUNet_preprocessed.
        cases: The preprocessed cases.
        fold: The fold to be trained; ``"all"`` needs no splits_final.json.
        of_member: Whether a collection is trained: a member's fold may have nothing to train or validate on, and beyond
            its last fold stock code draws it a split. It must not validate on what it trains on.

    Raises:
        UserError: The file is damaged or has no such fold; or the fold trains or validates on nothing, on one case
            twice (a member's only) or on cases that are not preprocessed; or no fold uses a preprocessed case; or there
            is no file and too few cases for nnU-Net's default.
    """
    if fold == "all":
        return
    file = folder / FILE
    if not file.is_file() and len(cases) < STOCK_FOLDS:
        raise UserError(
            f"{file}: expected folds, or at least {STOCK_FOLDS} preprocessed cases for nnU-Net's default, found "
            f"{len(cases)} case{'s' * (len(cases) != 1)} and no file. Train fold all, or write the file: "
            f'[{{"train": [...], "val": [...]}}, ...].'
        )
    folds = _read(file) if file.is_file() else default_folds(cases)
    if int(fold) >= len(folds) and of_member:
        return
    if int(fold) >= len(folds):
        raise UserError(
            f"{file}: expected a fold below {len(folds)}, got {fold} (stock nnU-Net draws a random split then). Train "
            f"one of {', '.join(map(str, range(len(folds))))} or all, or add the fold to the file."
        )
    problem = _problem(folds, int(fold), set(cases), of_member)
    if problem is not None:
        raise UserError(f"{file}: {problem}")


def _problem(folds: Folds, number: int, cases: set[str], of_member: bool) -> str | None:
    """What is wrong with a fold, and the remedy."""
    train, val = (folds[number][key] for key in ("train", "val"))
    for key, names, use in (("train", train, "train"), ("val", val, "validate")):
        if not names and not of_member:
            return f"fold {number}: expected cases to {use} on, found none under {key!r}. List some, {DEFAULT}."
    if of_member and (twice := sorted({*train} & {*val})):  # for a single dataset, nnU-Net warns
        return (
            f"fold {number}: expected each case under 'train' or under 'val', found {twice[0]!r} under both"
            f"{more(len(twice) - 1)}. Remove it from one, {DEFAULT}."
        )
    if gone := sorted({*train, *val} - cases):
        return (
            f"fold {number}: expected preprocessed cases, found {gone[0]!r}, which is not preprocessed"
            f"{more(len(gone) - 1)}. Preprocess it, remove it from the file, {DEFAULT}."
        )
    if new := sorted(cases - {name for fold in folds for names in fold.values() for name in names}):
        return (
            f"expected every preprocessed case in a fold, found {new[0]!r} in none{more(len(new) - 1)}: it was added "
            f"since. Add it, leave it out with the key {UNUSED!r} beside 'train' and 'val', {DEFAULT}."
        )
    return None


def _read(file: Path) -> Folds:
    remedy = f"Restore it, {DEFAULT}."
    try:
        found = read_json(file)
    except UserError as error:
        raise UserError(f"{str(error).removesuffix('Restore or rewrite the file.')}{remedy}") from error
    if not _are_folds(found):
        raise UserError(
            f'{file}: expected a list of {{"train": [...], "val": [...]}} with names of cases, got something else. '
            f"{remedy}"
        )
    return [{key: list(fold[key]) for key in ("train", "val", UNUSED) if key in fold} for fold in found]


def _are_folds(found: Any) -> bool:
    return isinstance(found, list) and len(found) > 0 and all(map(_is_fold, found))


def _is_fold(found: Any) -> bool:
    lists = [found.get("train"), found.get("val"), found.get(UNUSED, [])] if isinstance(found, dict) else [None]
    return all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists)
