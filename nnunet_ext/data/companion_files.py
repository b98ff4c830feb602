"""What nnU-Net reads beside an image or a label, and what must accompany that file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nnunet_ext.data.image_case import Case
from nnunet_ext.files.link import link

CHANNEL = len("_0000")


def spacing_file(file: Path, *, label: bool = False) -> Path | None:
    """Return the file that gives a .tif its spacing, which need not exist; None for formats that need none.

    nnU-Net reads ``CASE.json`` beside the image ``CASE_0000.tif`` and beside the label ``CASE.tif``.
    """
    if file.suffix.lower() not in (".tif", ".tiff"):
        return None
    name = file.name.removesuffix(file.suffix)
    return file.with_name(f"{name if label else name[:-CHANNEL]}.json")


def remove_made_up_spacing(source: Path, target: Path) -> None:
    """Remove the spacing beside a .tif label that was made from another one, if that one gives none.

    nnU-Net reads a label without it as if voxels were 1 mm wide, and would write this down.
    """
    known, made_up = spacing_file(source, label=True), spacing_file(target, label=True)
    if known is not None and made_up is not None and not known.is_file():
        made_up.unlink(missing_ok=True)


def files_of(case: Case) -> list[Path]:
    """Return all files that a case's voxels and spacing come from: its label, its images, and what is beside them."""
    found = [case.label] if case.label is not None else []
    beside = [spacing_file(case.label, label=True)] if case.label is not None else []
    beside += [spacing_file(image) for image in case.images]
    return [*found, *case.images, *dict.fromkeys(file for file in beside if file is not None and file.is_file())]


def links(images: Iterable[Path], folder: Path, name: str, ending: str) -> dict[Path, Path]:
    """Return where a case's images, and what is beside them, are linked in a folder: {target: source}."""
    found = {}
    for index, image in enumerate(images):
        target = folder / f"{name}_{index:04d}{ending}"
        found[target] = image
        found |= _link_beside(image, target, label=False)
    return found


def link_label(source: Path, target: Path) -> None:
    """Link a label and what is beside it."""
    for to, file in {target: source, **_link_beside(source, target, label=True)}.items():
        link(file, to)


def _link_beside(source: Path, target: Path, *, label: bool) -> dict[Path, Path]:
    file, to = spacing_file(source, label=label), spacing_file(target, label=label)
    return {to: file} if file is not None and to is not None and file.is_file() else {}
