"""Labels: plan, train, validate, predict unseen cases, evaluate."""

from __future__ import annotations

from pathlib import Path

import pytest
from stock import whole_path

pytestmark = pytest.mark.slow


@pytest.mark.row("{labels}, {configuration}")
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("labels", ["plain", "ignore", "regions", "regions+ignore"])
def test_labels(trainer: str, labels: str, configuration: str, tmp_path: Path) -> None:
    whole_path(trainer, labels, configuration, tmp_path / "predictions")
