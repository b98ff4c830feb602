"""Preprocessed data of a member that already exist for other plans."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_ext.data.preprocessed.data_hash import preprocessing_hash
from nnunet_ext.data.preprocessed.marker import DataMarker

MARKER = ".complete.json"


def share_data(
    member_folder: Path,
    plans: Mapping[str, Any],
    configuration: str,
    cases: Sequence[str],
    *,
    are_of_now: Callable[[DataMarker], bool] = lambda _: True,
) -> Path | None:
    """Give these plans the complete data of other plans with the same preprocessing, as hard links to the same files.

    Each folder is complete by itself: nnU-Net deletes files and writes new ones but never changes one, so preprocessing
    or deleting one plans' data leaves the others' as they are.

    Args:
        member_folder: The member's folder in nnUNet_preprocessed.
        plans: The member's plans.
        configuration: The configuration to be preprocessed.
        cases: Names of the member's cases now, sorted.
        are_of_now: Whether data are made from images and labels as they are now.

    Returns:
        The folder whose data they are; None if no data match, or if the file system has no hard links.
    """
    planned = plans["configurations"][configuration]
    digest, place = preprocessing_hash(member_folder, plans, planned), member_folder / planned["data_identifier"]
    for marker in sorted(member_folder.glob(f"*{MARKER}")):
        other = DataMarker(marker.with_name(marker.name.removesuffix(MARKER)))
        complete = other.data != place and other.problem(digest) is None and other.cases() == list(cases)
        if complete and are_of_now(other):
            return other.data if _link(other.data, place) else None
    return None


def _link(source: Path, place: Path) -> bool:
    """Put hard links to all files of a folder into another, which is replaced."""
    partial = place.with_name(f"{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for file in source.iterdir():
            os.link(file, partial / file.name)
    except OSError:
        shutil.rmtree(partial)
        return False
    if place.exists():
        shutil.rmtree(place)
    partial.rename(place)
    return True
