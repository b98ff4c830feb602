"""A marker that says which plans a folder of preprocessed data belongs to, and whether the data are complete.

It is stored beside the folder as ``<folder>.complete.json``: nnU-Net accepts no other file among the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.files.json_file import read_json, write_json
from nnunet_ext.files.system_files import files_in


@dataclass(frozen=True)
class DataMarker:
    """The marker of one folder.

    Args:
        data: The folder.
    """

    data: Path

    @property
    def file(self) -> Path:
        """The marker's file."""
        return self.data.with_name(f"{self.data.name}.complete.json")

    def begin(self, digest: str, sources: Mapping[str, Any] | None = None) -> None:
        """Record that data of these plans are about to be written.

        Args:
            digest: What distinguishes plans.
            sources: Identity of the files that each case is made from, as JSON.
        """
        self._write({"plans": digest, "files": None} | ({} if sources is None else {"sources": sources}))

    def finish(self, digest: str) -> None:
        """Record that the data are complete, made from what :meth:`begin` said."""
        sources = {"sources": found} if (found := self.sources()) else {}
        self._write({"plans": digest, "files": self._files()} | sources)

    def remove(self) -> None:
        """Record that the data belong to no plans."""
        self.file.unlink(missing_ok=True)

    def digest(self) -> str | None:
        """Return which plans the data belong to, complete or not; None if unknown."""
        return read_json(self.file)["plans"] if self.file.is_file() else None

    def sizes(self) -> dict[str, int]:
        """Return size by name of the files as they were when the data were complete; none before."""
        return (read_json(self.file)["files"] or {}) if self.file.is_file() else {}

    def sources(self) -> dict[str, Any]:
        """Return the identity of the files that each case is made from; none if it was not recorded."""
        return read_json(self.file).get("sources", {}) if self.file.is_file() else {}

    def cases(self) -> list[str]:
        """Return the cases of the complete data, sorted."""
        return sorted(name.removesuffix(".pkl") for name in self.sizes() if name.endswith(".pkl"))

    def problem(self, digest: str) -> str | None:
        """Return what is there instead of complete data of these plans, as ``found none: ...``; None: they are."""
        if not self.data.is_dir():
            return f"found {'them deleted' if self.file.is_file() else 'none: they were never preprocessed'}"
        if not self.file.is_file():
            return f"found some without {self.file.name}: preprocessing was interrupted, or another command did it"
        found = read_json(self.file)
        if found["plans"] != digest:
            return "found those of earlier plans or labels: they were planned again since they were preprocessed"
        if found["files"] is None:
            return "found part of them: preprocessing was interrupted"
        if (there := self._files()) != found["files"]:
            names = sorted({name for name, _ in there.items() ^ found["files"].items()})
            several = len(names) > 1
            return f"found {len(names)} file{'s' * several} changed, missing or new ({names[0]}{' first' * several})"
        return None

    def _files(self) -> dict[str, int]:
        return {file.name: file.stat().st_size for file in files_in(self.data)}

    def _write(self, content: dict[str, Any]) -> None:
        write_json(self.file, content, indent=1)
