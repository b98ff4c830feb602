"""Models to export."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from small_model import write_small_model


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """Write a model's folder and return it; see :func:`write_small_model`."""
    return functools.partial(write_small_model, tmp_path / "results")
