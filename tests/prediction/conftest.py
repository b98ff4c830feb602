"""Models for the tests of prediction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from small_model import write_small_model


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """Write a model's folder and return it; see :func:`write_small_model`."""
    return functools.partial(write_small_model, tmp_path / "results")
