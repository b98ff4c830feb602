"""A text file that names cases, one per line."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from nnunet_ext.errors import UserError, nearest
from nnunet_ext.files.text_file import read_text


def read_case_list(file: Path, legal: Collection[str], dataset: str, option: str) -> tuple[str, ...]:
    """Return the cases of a file in its order, each once; empty lines do not count.

    Args:
        file: The file.
        legal: The cases that exist.
        dataset: Name of their dataset.
        option: The option that names the file.

    Raises:
        UserError: It cannot be read, or names a case that does not exist.
    """
    try:
        lines = read_text(file, mark=True).splitlines()
    except OSError as error:
        raise UserError(
            f"{option}: expected {file} to be a text file with one case on each line, got {error}. Check the path."
        ) from error
    cases = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    for case in cases:
        if case not in legal:
            raise UserError(f"{file}: unknown case {case!r} of {dataset}. {nearest(case, legal)}")
    return cases
