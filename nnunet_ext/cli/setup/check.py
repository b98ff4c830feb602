"""One line of ``nnunet_ext doctor``."""

from __future__ import annotations

import re
from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "FAIL"

# raised by importing a package that is missing, half removed or built for another version of a dependency
BROKEN_IMPORT = (ImportError, AttributeError, RuntimeError, OSError, TypeError, ValueError, KeyError, SyntaxError)


@dataclass(frozen=True)
class Check:
    """One line of the table.

    Args:
        name: What was looked at.
        status: ``ok``, ``warn`` or ``FAIL``.
        message: What was found.
        remedy: What to do about it.
    """

    name: str
    status: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.status:<4}  {self.name:<22}  {self.message}"
        return f"{line}\n{'':<4}  {'':<22}  -> {self.remedy}" if self.remedy else line


def version_numbers(version: str) -> tuple[int, ...]:
    """Return major and minor."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
