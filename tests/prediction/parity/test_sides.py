"""The settings that our side of the comparison predicts with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nnunet_ext.prediction.parity import sides
from nnunet_ext.prediction.parity.sides import Settings


@pytest.mark.parametrize("trust", [False, True])
def test_our_predictor_gets_the_settings(monkeypatch, trust):
    made: list[Any] = []
    monkeypatch.setattr(sides, "Predictor", lambda *places, **options: made.append((places, options)))
    monkeypatch.setattr(sides.torch, "set_num_threads", lambda _: None)
    sides._Ours(Settings(Path("model"), ("0",), "best.pth", "cpu", 0.5, False, trust=trust))
    options = {"device": "cpu", "step_size": 0.5, "mirroring": False, "trust": trust}
    assert made == [((Path("model"), ("0",), "best.pth"), options)]
