"""JSON and text files: reading those that a user may have edited, and atomic writing."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnunet_ext.errors import UserError
from nnunet_ext.files.text_file import read_text

PARTIAL = re.compile(r"(.+)\.(\d+)\.partial")


def read_json(file: Path, *, unique: bool = False) -> Any:
    """Return what a JSON file holds.

    Args:
        file: The file.
        unique: Refuse an object that names a key twice; Python would silently keep the last one.

    Raises:
        UserError: The file cannot be read, is not JSON or names a key twice.
    """
    try:
        return json.loads(read_text(file), object_pairs_hook=_unique if unique else None)
    except PermissionError as error:
        raise UserError(f"{file}: expected JSON, got {error.strerror!r}. Make it readable: chmod u+r.") from error
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{file}: expected JSON, got {error}. Restore or rewrite the file.") from error
    except KeyError as error:
        raise UserError(f"{file}: expected each name once in an object, found {error} twice. Rename one.") from error


def read_object(file: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        UserError: The file cannot be read, is not JSON or holds another value.
    """
    found = read_json(file)
    if not isinstance(found, dict):
        raise UserError(f"{file}: expected an object, got {type(found).__name__}. Restore or rewrite the file.")
    return found


def write_json(file: Path, content: Any, *, indent: int = 4, new: bool = False) -> None:
    """Write JSON in UTF-8, atomically.

    Args:
        file: The file; an existing one is replaced.
        content: What it will hold.
        indent: Spaces for each level.
        new: Do not replace it, even if another process writes it at the same instant.

    Raises:
        UserError: It could not be written; what was there is unchanged.
        FileExistsError: ``new``, and it is there.
    """
    write_text(file, json.dumps(content, indent=indent), new=new)


def write_text(file: Path, text: str, *, new: bool = False) -> None:
    """Write text in UTF-8, atomically; see :func:`write_json`."""
    with whole_file(file, new=new) as partial, partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


@contextlib.contextmanager
def whole_file(file: Path, *, new: bool = False) -> Iterator[Path]:
    """``with whole_file(file) as partial:`` what is written to ``partial`` is renamed to ``file`` at the end.

    Raises:
        UserError: It could not be written; what was there is unchanged.
        FileExistsError: ``new``, and it is there.
    """
    partial = partial_of(file)
    try:
        yield partial
        if new:
            _rename_to_new(partial, file)
        else:
            partial.replace(file)
    except FileExistsError:
        raise
    except OSError as error:
        raise UserError(
            f"{file}: expected to write, got {error.strerror!r}. Free space, or correct the permissions of its "
            f"folder; what was there before is unchanged."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def partial_of(file: Path) -> Path:
    """Return where to write a file that is renamed when complete; remove what killed processes left there."""
    for other in file.parent.glob(f"{file.name}.*.partial"):
        match = PARTIAL.fullmatch(other.name)
        if match is None or match[1] != file.name or (other.is_dir() and not other.is_symlink()):
            continue
        # one of our own number is of an earlier process: in containers, numbers recur
        if int(match[2]) == os.getpid() or not _is_alive(int(match[2])):
            other.unlink(missing_ok=True)
    return file.with_name(f"{file.name}.{os.getpid()}.partial")


def is_partial(name: str) -> bool:
    """Whether a file of this name was left by a process that was killed while writing."""
    return name.endswith(".partial")


def _is_alive(pid: int) -> bool:
    if not hasattr(os, "fork"):
        return True  # Windows: a process cannot be probed without ending it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _rename_to_new(partial: Path, file: Path) -> None:
    try:
        os.link(partial, file)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if file.exists():
            raise FileExistsError(file) from None
        partial.replace(file)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise KeyError(key)
        found[key] = value
    return found
