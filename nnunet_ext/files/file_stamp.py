"""A file's identity: enough to notice a change without reading the file each time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
SAMPLES = 16  # chunks, of a .gz larger than that, whose end holds a checksum of all of it


@dataclass(frozen=True)
class FileStamp:
    """Size, time and content of a file; for a link, of its target.

    Args:
        size: Bytes.
        modified: Time of the last change in ns. It is only a shortcut: a file that was copied or touched is still the
            same.
        sha256: Of the content; for a .gz larger than 16 MiB, of that much of it, including the checksum at its end.
    """

    size: int
    modified: int
    sha256: str

    @classmethod
    def of(cls, file: Path) -> FileStamp:
        """Read a file's stamp."""
        found = file.stat()
        return cls(found.st_size, found.st_mtime_ns, _digest(file, found.st_size))

    def as_json(self) -> list[Any]:
        """Return what ``FileStamp(*...)`` takes."""
        return [self.size, self.modified, self.sha256]

    def fits(self, file: Path) -> bool:
        """Whether this is still the file's stamp; content is read only if the time differs."""
        found = file.stat()
        if found.st_size != self.size:
            return False
        return found.st_mtime_ns == self.modified or _digest(file, self.size) == self.sha256


def changed_file(files: Sequence[Path], stamps: Sequence[Sequence[Any]] | None) -> Path | None:
    """Return the first of some files that has changed, or None if none is known to have changed.

    Args:
        files: The files; a missing one does not count, it may be on another machine.
        stamps: What :meth:`FileStamp.as_json` said of them; None if it was not recorded.
    """
    if stamps is None:
        return None
    if len(files) != len(stamps):
        return files[-1]
    pairs = zip(files, stamps, strict=True)
    return next((file for file, stamp in pairs if file.is_file() and not FileStamp(*stamp).fits(file)), None)


def _digest(file: Path, size: int) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        for place in _places(size, sampled=file.name.endswith(".gz")):
            stream.seek(place)
            digest.update(stream.read(CHUNK))
    return digest.hexdigest()


def _places(size: int, *, sampled: bool) -> Iterator[int]:
    """Where the chunks begin: all of them, or as many as are sampled, the first and the last among them."""
    chunks = -(-size // CHUNK)
    if chunks <= SAMPLES or not sampled:
        yield from range(0, size, CHUNK)
        return
    last = size - CHUNK
    yield from (round(last * number / (SAMPLES - 1)) for number in range(SAMPLES))
