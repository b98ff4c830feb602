"""Labels: plan, train, validate, predict unseen cases, evaluate."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from stock import check_predicted, check_trained, evaluate, predict, trained

pytestmark = pytest.mark.slow


@pytest.mark.row("{labels}, {configuration}")
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("labels", ["plain", "ignore", "regions", "regions+ignore"])
def test_labels(trainer: str, labels: str, configuration: str, tmp_path: Path) -> None:
    check_trained(trained(trainer, labels, configuration))
    predictions = predict(trainer, labels, configuration, tmp_path / "predictions")
    check_predicted(labels, predictions)
    assert math.isfinite(evaluate(labels, predictions)["foreground_mean"]["Dice"])
