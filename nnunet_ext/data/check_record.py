"""What the check of a dataset has read and found valid, so that it reads only what has changed since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nnunet_ext
from nnunet_ext.data.companion_files import files_of
from nnunet_ext.data.image_case import Case
from nnunet_ext.errors import UserError
from nnunet_ext.files.file_stamp import FileStamp, changed_file
from nnunet_ext.files.json_file import read_object, write_json
from nnunet_ext.processes.cores import usable_cores

FILE = ".nnunet_ext_checked.json"


@dataclass(frozen=True)
class CheckRecord:
    """The record of one dataset; it is valid for one dataset.json and one version of nnunet_ext.

    Args:
        folder: The dataset's folder in nnUNet_preprocessed, which need not exist before :meth:`write`.
    """

    folder: Path

    @property
    def file(self) -> Path:
        """The record's file."""
        return self.folder / FILE

    def unchecked(self, description: Mapping[str, Any], cases: Sequence[Case]) -> list[Case]:
        """Return the cases that were not checked, or of which a file has changed since.

        Args:
            description: The current dataset.json.
            cases: The dataset's cases.
        """
        return _unchecked(cases, self._known(description))

    def write(self, description: Mapping[str, Any], cases: Sequence[Case]) -> None:
        """Record that all cases are valid; reads the files of those that were not recorded."""
        known = self._known(description)
        left = {case.name for case in _unchecked(cases, known)}
        if not left and known.keys() == {case.name for case in cases}:
            return

        def stamps(case: Case) -> list[Any]:
            return [FileStamp.of(file).as_json() for file in files_of(case)] if case.name in left else known[case.name]

        with ThreadPoolExecutor(usable_cores()) as pool:
            found = dict(zip((case.name for case in cases), pool.map(stamps, cases), strict=True))
        write_json(self.file, {"of": _digest(description), "cases": found}, indent=1)

    def _known(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """Return stamps by case; none where there is no record, or one that cannot be used."""
        try:
            found = read_object(self.file)
        except UserError:  # missing or damaged
            return {}
        return found["cases"] if found.get("of") == _digest(description) else {}


def _unchecked(cases: Sequence[Case], known: Mapping[str, Any]) -> list[Case]:
    return [case for case in cases if case.name not in known or changed_file(files_of(case), known[case.name])]


def _digest(description: Mapping[str, Any]) -> str:
    text = json.dumps([nnunet_ext.__version__, description], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
