"""Zip files that came from somebody else: nothing is written outside of the folder, and no more than they declare."""

from __future__ import annotations

import lzma
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import TracebackType

from nnunet_ext.errors import UserError, one_line

MOST_RATIO, SMALL = 200, 2**30  # weights shrink to a half; up to a GiB any ratio is taken
DAMAGED = (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError)
DAMAGED_ENTRY = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError)


class ForeignZip:
    """A zip file whose entries have all been looked at before the first one is unpacked.

    Use it with ``with``.

    Args:
        file: The zip file.
        of: What it should hold, for messages: ``"model"``.

    Raises:
        UserError: It is no zip file; or an entry has a path that leads out of the folder, is a link or another special
            file, is encrypted, or has the name of another one; or the entries together are absurdly large.

    Example:
        >>> with ForeignZip(Path("model.zip"), of="model") as archive:  # doctest: +SKIP
        ...     archive.extract(["Dataset004_Hippocampus/plans.json"], Path("out"))
    """

    def __init__(self, file: Path, of: str = "model") -> None:
        self.file, self.of = file, of
        try:
            self._archive = zipfile.ZipFile(file)
        except DAMAGED as error:
            raise self._no_zip(error) from error
        try:
            self._check()
        except UserError:
            self._archive.close()
            raise

    def __enter__(self) -> ForeignZip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive.close()

    @property
    def names(self) -> list[str]:
        """Names of all files, as they are in the zip file."""
        return [entry.filename for entry in self._archive.infolist() if not entry.is_dir()]

    def size(self, name: str) -> int:
        """Return the size of a file in bytes, as the zip file declares it."""
        return self._archive.getinfo(name).file_size

    def extract(self, names: Sequence[str], folder: Path) -> None:
        """Unpack some files.

        Args:
            names: Their names in the zip file.
            folder: They get the same paths in it; a file that is there is replaced.

        Raises:
            UserError: There is no room for them, or one is damaged; it is not left behind.
        """
        folder.mkdir(parents=True, exist_ok=True)
        wanted, free = sum(map(self.size, names)), shutil.disk_usage(folder).free
        if wanted > free:
            raise UserError(
                f"{self.file}: expected {wanted} bytes of free space in {folder}, found {free}. Free space, or set "
                f"TMPDIR to a folder with more."
            )
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                # a file that unpacks to more than it declares ends at that size, and fails its checksum
                with self._archive.open(name) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out)
            except DAMAGED_ENTRY as error:
                target.unlink(missing_ok=True)
                raise self._no_zip(error) from error
            except OSError as error:
                target.unlink(missing_ok=True)
                if error.errno is None:  # of bz2, for damaged data; others are of the disk
                    raise self._no_zip(error) from error
                raise

    def _no_zip(self, error: BaseException) -> UserError:
        return UserError(
            f"{self.file}: expected a {self.of}'s folder or an intact zip file of one, got {one_line(error)}. Copy it "
            f"again."
        )

    def _check(self) -> None:
        entries = self._archive.infolist()
        if leaving := [entry.filename for entry in entries if _leaves(entry.filename)]:
            raise UserError(
                f"{self.file}: expected paths inside the {self.of}, found {leaving[0]!r}, which leads out of it. Do "
                f"not use this file."
            )
        for entry in entries:
            if (wrong := _what_is_wrong(entry)) is not None:
                raise UserError(
                    f"{self.file}: expected plain files and folders, found {entry.filename!r}, {wrong}. Do not use "
                    f"this file."
                )
        if twice := _twice(entries):
            raise UserError(
                f"{self.file}: expected each name once, found {twice!r} again (upper and lower case are one, as on "
                f"some computers). Do not use this file."
            )
        declared, there = sum(entry.file_size for entry in entries), self.file.stat().st_size
        if declared > max(SMALL, MOST_RATIO * there):
            raise UserError(
                f"{self.file}: expected at most {MOST_RATIO} times as many bytes as the zip file has, {there}, found "
                f"{declared}. Do not use this file."
            )


def _leaves(name: str) -> bool:
    windows = PureWindowsPath(name)  # it takes both kinds of slashes
    return ".." in windows.parts or bool(windows.anchor)


def _what_is_wrong(entry: zipfile.ZipInfo) -> str | None:
    # zipfile cuts a name at its first NUL
    if entry.filename != entry.orig_filename or any(unicodedata.category(each) == "Cc" for each in entry.filename):
        return "a name with control characters"
    if "\\" in entry.filename or ":" in entry.filename:
        return "a name with characters that only some computers take as part of a name"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a special file"
    return "which is encrypted" if entry.flag_bits & 1 else None


def _twice(entries: Sequence[zipfile.ZipInfo]) -> str | None:
    """Return the first path that is there already: as a file, or as the folder of a file."""
    seen: set[str] = set()
    folders: set[str] = set()
    for entry in entries:
        path = PurePosixPath(unicodedata.normalize("NFC", entry.filename).casefold())
        above = {str(parent) for parent in path.parents}
        if above & seen or (not entry.is_dir() and str(path) in seen | folders):
            return entry.filename
        folders |= above
        if entry.is_dir():
            folders.add(str(path))
        else:
            seen.add(str(path))
    return None
