"""What a challenge's folder must hold: everything that is missing is named in one message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_ext.errors import UserError
from nnunet_ext.files.system_files import files_in


@dataclass
class SourceTree:
    """The folder that holds the cases of a challenge.

    Args:
        root: The folder.
        missing: What was expected and not found; :meth:`check` reports it.
    """

    root: Path
    missing: list[str] = field(default_factory=list)

    @classmethod
    def find(cls, source: Path, inside: Sequence[str], pattern: str, expected: str) -> SourceTree:
        """Find the folder of the cases, given it or a folder above it.

        Args:
            source: What the user named.
            inside: Where below it the cases may be, as ``("", "data")``; the first that fits is taken.
            pattern: Regular expression of the names of what must be in it.
            expected: What that is, for the message.

        Raises:
            UserError: It is in none of them.
        """
        for place in (source / part for part in inside):
            if any(re.fullmatch(pattern, path.name) for path in files_in(place)):
                return cls(place)
        looked = ", ".join(part for part in inside if part)
        found = ", ".join(path.name for path in files_in(source)[:5]) or ("nothing" if source.is_dir() else "no folder")
        raise UserError(
            f"{source}: expected {expected} in it{f' or in {looked}' if looked else ''}, found {found}. Name the "
            f"folder that the challenge's download was unpacked to."
        )

    def cases(self, pattern: str) -> list[Path]:
        """Return the files or folders of the cases by name, without the operating system's own."""
        return [path for path in files_in(self.root) if re.fullmatch(pattern, path.name)]

    def need(self, *candidates: Path) -> Path:
        """Return the first of some files that is there; if none is, note it as missing and return the first."""
        for file in candidates:
            if file.is_file():
                return file
        self.note(candidates[0])
        return candidates[0]

    def note(self, file: Path, remark: str = "") -> None:
        """Note a file as missing."""
        place = file.relative_to(self.root) if file.is_relative_to(self.root) else file
        self.missing.append(f"{place}{f' ({remark})' if remark else ''}")

    def check(self) -> None:
        """Refuse the folder if anything is missing.

        Raises:
            UserError: All of it, by name.
        """
        if self.missing:
            raise UserError(
                f"{self.root}: expected the files of every case, found no {', '.join(self.missing)}. Add "
                f"{'it' if len(self.missing) == 1 else 'them'}, or remove the incomplete cases."
            )
