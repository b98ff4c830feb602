"""The cases in a container's input folder.

The folder may be a link that shows another folder at the next call, so no path of it is kept or resolved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.challenges.container.interface import InputImage, Interface
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json
from nnunet_ext.files.system_files import files_in

DESCRIPTION = "inputs.json"
DESCRIBED_BY = ("socket", "interface")  # keys of an entry: since 2026, before


@dataclass(frozen=True)
class InputCase:
    """The images of a case.

    Args:
        name: Of the first image's file, without its ending.
        images: One for each input of the interface, in its order.
    """

    name: str
    images: tuple[Path, ...]


def find_cases(folder: Path, interface: Interface) -> list[InputCase]:
    """Return the cases: one, or for an interface of several cases all of them.

    If there is an ``inputs.json``, it says where the images are; else they are where the interface says.

    Args:
        folder: The input folder.
        interface: Of the challenge.

    Raises:
        UserError: An image is missing, there are several, or ``inputs.json`` has another form.
    """
    described = _described(folder / DESCRIPTION)
    found = [_images(folder, image, described) for image in interface.inputs]
    if not interface.several_cases:
        for image, files in zip(interface.inputs, found, strict=True):
            if len(files) != 1:
                raise UserError(
                    f"{folder}: expected one image *{image.ending} in {_place(image, described)}, found "
                    f"{', '.join(sorted(files)) or 'none'}. Check what the platform hands over."
                )
        return [InputCase(next(iter(found[0])), tuple(next(iter(files.values())) for files in found))]
    for image, files in zip(interface.inputs, found, strict=True):
        if not files or set(files) != set(found[0]):
            raise UserError(
                f"{folder}: expected images *{image.ending} in {_place(image, described)}, with the same names for "
                f"each channel, found {', '.join(sorted(files)) or 'none'}. Check what the platform hands over."
            )
    return [InputCase(name, tuple(files[name] for files in found)) for name in sorted(found[0])]


def _images(folder: Path, image: InputImage, described: Mapping[str, str]) -> dict[str, Path]:
    files = files_in(folder / _place(image, described))
    return {
        file.name.removesuffix(image.ending): file
        for file in files
        if file.name.endswith(image.ending) and file.is_file()
    }


def _place(image: InputImage, described: Mapping[str, str]) -> str:
    return described.get(image.slug, image.relative_path)


def _described(file: Path) -> dict[str, str]:
    """The folder of each slug that ``inputs.json`` gives one for."""
    if not file.is_file():
        return {}
    content = read_json(file)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise UserError(f"{file}: expected a list of objects, got {type(content).__name__}. Restore the file.")
    return dict(filter(None, map(_slug_and_folder, content)))


def _slug_and_folder(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    for key in DESCRIBED_BY:
        kind = entry.get(key)
        if isinstance(kind, dict) and isinstance(kind.get("slug"), str) and isinstance(kind.get("relative_path"), str):
            return kind["slug"], kind["relative_path"]
    return None
