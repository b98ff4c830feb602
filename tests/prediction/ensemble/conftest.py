"""Models of the same labels with other plans."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_model import write_small_model


@pytest.fixture
def write_models(tmp_path: Path) -> Callable[..., list[Path]]:
    """Write a model for each dict of settings, all with some more in common."""

    def write(*settings: dict[str, Any], **common: Any) -> list[Path]:
        return [
            write_small_model(tmp_path / f"results{number}", **(common | each)) for number, each in enumerate(settings)
        ]

    return write
