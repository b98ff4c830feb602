"""Cases with the same image files, under any name and in any dataset."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Images = Mapping[str, Sequence[Path]]

EXTRACT = 1024  # bytes
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


def same_images(one: Images, other: Images, *, copies: bool = False) -> list[tuple[str, str]]:
    """Return the pairs of cases that share an image file, by path or as the same file under two paths.

    A file that is in every case of a dataset beside other images (an atlas) does not count.

    Args:
        one: Image files by case.
        other: The same.
        copies: Also cases of which all images have the same bytes.

    Returns:
        Names in ``one`` and in ``other``, sorted by the latter.
    """
    in_all = _in_all({**one, **other})
    owners = {identity: name for name, images in one.items() for identity in _identities(images) - in_all}
    found = {}
    for name, images in other.items():
        for identity in _identities(images):
            if identity in owners:
                found[name] = owners[identity]
    if copies:
        found |= _copies(one, {name: images for name, images in other.items() if name not in found})
    return [(found[name], name) for name in sorted(found)]


def _copies(one: Images, other: Images) -> dict[str, str]:
    """For cases of the second kind, the one of the first with the same bytes in all images."""
    by_extract: dict[Hashable, list[str]] = {}
    for name, images in one.items():
        if (extract := _extract(images)) is not None:
            by_extract.setdefault(extract, []).append(name)
    found = {}
    for name, images in other.items():
        for candidate in by_extract.get(_extract(images), []):
            pairs = zip(one[candidate], images, strict=True)
            if all(filecmp.cmp(own, copy, shallow=False) for own, copy in pairs):
                found[name] = candidate
    return found


def _extract(images: Sequence[Path]) -> Hashable:
    """Size and some bytes from the middle of each file, in which images differ; None if one is not there."""
    found = []
    for file in images:
        try:
            size = file.stat().st_size
            with file.open("rb") as stream:
                stream.seek(size // 2)
                found.append((size, stream.read(EXTRACT)))
        except OSError:
            return None
    return tuple(found)


def _in_all(cases: Images) -> set[Hashable]:
    """Files that all cases of a dataset of three or more have beside images of their own."""
    by_dataset: dict[str, list[set[Hashable]]] = {}
    for name, images in cases.items():
        by_dataset.setdefault(name.rpartition("/")[0], []).append(_identities(images) if len(images) > 1 else set())
    return {identity for found in by_dataset.values() if len(found) > 2 for identity in set.intersection(*found)}


def _identities(images: Iterable[Path]) -> set[Hashable]:
    return {identity for file in images for identity in _identity(file)}


def _identity(file: Path) -> Iterator[Hashable]:
    """The path, and what is equal for all paths that lead to one file: links of both types, mounts."""
    yield str(file)
    try:
        stat = file.stat()
    except OSError:
        return
    yield str(file.resolve())
    if stat.st_ino:  # some file systems have no numbers
        yield stat.st_dev, stat.st_ino
