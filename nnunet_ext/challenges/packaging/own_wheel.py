"""A wheel of the installed nnunet_ext, made of the files that run here, be it installed from a wheel or a checkout."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import nnunet_ext
from nnunet_ext import sockets
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import whole_file

NAME = "nnunet_ext"
WHEEL = "Wheel-Version: 1.0\nGenerator: nnunet_ext package\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
TIME = (1980, 1, 1, 0, 0, 0)  # equal files make equal wheels


def write_own_wheel(folder: Path) -> Path:
    """Write the wheel.

    Args:
        folder: Where it is written.

    Returns:
        The file.

    Raises:
        UserError: nnunet_ext is not installed, or the wheel cannot be written.
    """
    try:
        installed = distribution(NAME)
    except PackageNotFoundError as error:
        raise UserError(f"{NAME}: expected it installed, found only its files. pip install it first.") from error
    place = f"{NAME}-{installed.version}.dist-info"
    file = folder / f"{NAME}-{installed.version}-py3-none-any.whl"
    record = []
    with whole_file(file) as partial, ZipFile(partial, "w", ZIP_DEFLATED) as archive:
        for name, content in (*_package(), *_description(installed, place)):
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(content)}\n")
            archive.writestr(_entry(name), content)
        archive.writestr(_entry(f"{place}/RECORD"), "".join([*record, f"{place}/RECORD,,\n"]))
    return file


def _package() -> Iterator[tuple[str, bytes]]:
    """The files of the package, with the folders in which nnU-Net finds trainers and planners."""
    root = Path(nnunet_ext.__file__).parent
    folders = {root: NAME} | {sockets.folder(kind): f"{NAME}/_sockets/{kind}" for kind in ("trainers", "planners")}
    for folder, name in folders.items():
        for file in sorted(folder.rglob("*")):
            inside = file.relative_to(folder)
            if file.is_file() and not {"__pycache__", "_sockets"} & set(inside.parts):
                yield f"{name}/{inside.as_posix()}", file.read_bytes()


def _description(installed: Distribution, place: str) -> Iterator[tuple[str, bytes]]:
    for name in ("METADATA", "entry_points.txt"):
        yield f"{place}/{name}", (installed.read_text(name) or "").encode()
    yield f"{place}/WHEEL", WHEEL.encode()


def _entry(name: str) -> ZipInfo:
    entry = ZipInfo(name, TIME)
    entry.compress_type, entry.external_attr = ZIP_DEFLATED, 0o644 << 16
    return entry
