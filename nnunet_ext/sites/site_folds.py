"""Folds that validate on one site and train on all others."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nnunet_ext.data.folds import FILE, SITE, UNUSED
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json, write_json


def site_folds(sites: Mapping[str, str], unused: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return a fold for each site, sorted by its name: ``site``, ``train`` and ``val``.

    Args:
        sites: By case.
        unused: Cases that no fold uses, which each fold then lists.

    Example:
        >>> site_folds({"a": "Oslo", "b": "Bern", "c": "Oslo"})[0]
        {'site': 'Bern', 'train': ['a', 'c'], 'val': ['b']}
    """
    cases = sorted(sites)
    return [
        {
            SITE: site,
            "train": [case for case in cases if sites[case] != site],
            "val": [case for case in cases if sites[case] == site],
        }
        | ({UNUSED: sorted(unused)} if unused else {})
        for site in sorted(set(sites.values()))
    ]


def trained_folds(results: Path | None) -> list[Path]:
    """Return the folders of a dataset's folds, all apart, that hold a checkpoint.

    Args:
        results: The dataset's folder in nnUNet_results, which need not exist.
    """
    files = () if results is None else results.glob("*__*__*/fold_[0-9]*/checkpoint_*.pth")
    return sorted({file.parent for file in files})


def write_site_folds(
    folds: list[dict[str, Any]], preprocessed: Path, *, raw: Path, results: Path | None, replace: bool = False
) -> Path | None:
    """Write splits_final.json; the same call again changes nothing.

    Args:
        folds: The folds.
        preprocessed: The dataset's folder in nnUNet_preprocessed.
        raw: Its folder in nnUNet_raw.
        results: Its folder in nnUNet_results, which need not exist.
        replace: Also if models were trained on other folds.

    Returns:
        Where a copy of the earlier folds is; None if there were none, or the same.

    Raises:
        UserError: Models were trained on other folds, or nnUNet_raw has folds of its own.
    """
    file = preprocessed / FILE
    before = read_json(file) if file.is_file() else None
    if before == folds:
        return None
    if (raw / FILE).is_file() and read_json(raw / FILE) != folds:
        raise UserError(
            f"{raw / FILE}: expected no folds beside the images, found some, with which nnU-Net compares its own as it "
            f"plans. Move the file elsewhere."
        )
    if not replace and (trained := trained_folds(results)):
        raise UserError(
            f"{file}: expected no models of other folds, found {trained[0].parent.name}, {trained[0].name}, which "
            "could not be resumed or validated. Move them elsewhere, or accept that: --replace (the file is copied)."
        )
    copy = None
    if before is not None:
        copy = next(place for n in itertools.count(1) if not (place := file.with_name(f"{FILE}.before_{n}")).exists())
        shutil.copy2(file, copy)
    write_json(file, folds)
    return copy
