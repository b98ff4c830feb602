"""Cases with the same image files, under whatever names and in whatever datasets."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Images = Mapping[str, Sequence[Path]]

MANY = 3
FOLDERS = {"dataset": "imagesTr", "unlabelled": "imagesUn"}


def raw_folder() -> Path:
    """Return nnUNet_raw, or a name for it where there is none."""
    from nnunetv2.paths import nnUNet_raw

    return Path(str(nnUNet_raw)) if nnUNet_raw.is_set() else Path("nnUNet_raw")


def images_of(
    raw: Path, dataset: str, description: Mapping[str, Any], cases: Iterable[str], *, key: str = "dataset"
) -> dict[str, list[Path]]:
    """Return the image files of some cases, as dataset.json lists them or as nnU-Net names them.

    Nothing is read: files that are on another machine have names too.

    Args:
        raw: The folder nnUNet_raw, which need not exist.
        dataset: ``Dataset003_Liver``.
        description: Its dataset.json.
        cases: Names of cases.
        key: ``"dataset"`` for labelled, ``"unlabelled"`` for unlabelled cases.

    Returns:
        By ``Dataset003_Liver/case``, the absolute paths of its images.
    """
    listed = description.get(key)
    listed = listed if isinstance(listed, dict) else {}
    channels = range(len(description.get("channel_names") or description.get("modality") or (0,)))
    found = {}
    for case in map(str, cases):
        named = [f"{FOLDERS[key]}/{case}_{number:04d}{description['file_ending']}" for number in channels]
        images = listed[case]["images"] if case in listed else named
        found[f"{dataset}/{case}"] = [Path(os.path.abspath(raw / dataset / os.path.expandvars(i))) for i in images]
    return found


def same_images(one: Images, other: Images) -> list[tuple[str, str]]:
    """Return the pairs of cases that share an image file, by path or as the same file under two paths.

    A file that three or more cases of a dataset have, each beside images of its own, tells nothing: an atlas, or a
    blank image in place of a missing one.

    Args:
        one: Image files by case.
        other: The same.

    Returns:
        Names in ``one`` and in ``other``, sorted by the latter.
    """
    telling = _telling({**one, **other})
    owners = {identity: name for name in one for identity in telling[name]}
    found = {}
    for name in other:
        for identity in telling[name]:
            if identity in owners:
                found[name] = owners[identity]
    return [(found[name], name) for name in sorted(found)]


def _telling(cases: Images) -> dict[str, set[Hashable]]:
    """Return what tells each case: its images without those that three or more cases of its dataset share, if any."""
    counts: dict[str, Counter[Hashable]] = defaultdict(Counter)
    for name, images in cases.items():
        counts[name.rpartition("/")[0]].update(_identities(images))
    found = {}
    for name, images in cases.items():
        count = counts[name.rpartition("/")[0]]
        own = [file for file in images if all(count[identity] < MANY for identity in _identity(file))]
        found[name] = _identities(own or images)
    return found


def _identities(images: Iterable[Path]) -> set[Hashable]:
    return {identity for file in images for identity in _identity(file)}


def _identity(file: Path) -> Iterator[Hashable]:
    """The path, and what is equal for all paths that lead to one file: links of both kinds, mounts."""
    yield str(file)
    try:
        stat = file.stat()
    except OSError:
        return
    yield str(file.resolve())
    if stat.st_ino:  # some file systems have no numbers
        yield stat.st_dev, stat.st_ino
