"""Pass the arguments of a command line to a stock entry point."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from nnunet_ext.errors import UserError


def run_stock(program: str, entry: Callable[[], object], words: Sequence[str]) -> None:
    """Call ``entry`` as if ``program`` had been started with ``words``."""
    before = sys.argv
    sys.argv = [program, *words]
    try:
        entry()
    finally:
        sys.argv = before


def option(words: Sequence[str], flag: str, default: str | None = None) -> str | None:
    """Return the word after ``flag`` (or in ``flag=word``), or ``default``."""
    for index, word in enumerate(words):
        if word == flag and index + 1 < len(words):
            return words[index + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return default


def check_device(device: str | None) -> None:
    """Refuse ``-device cuda``, nnU-Net's default, on a machine without a GPU.

    Raises:
        UserError: torch finds no GPU.
    """
    if device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise UserError("-device cuda: expected a GPU, torch finds none. Add -device cpu, or see nnunet_ext doctor.")
