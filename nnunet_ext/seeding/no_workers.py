"""nnU-Net's loaders without worker processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

VARIABLE = "nnUNet_n_proc_DA"


@contextlib.contextmanager
def no_workers() -> Iterator[None]:
    """``with no_workers():`` nnU-Net makes loaders that draw in this process."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
