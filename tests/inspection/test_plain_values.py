"""Values of somebody else's files as JSON has them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from nnunet_ext.inspection.plain_values import DEEPEST, MOST, plain


def test_values():
    content = {
        1: np.float32(0.5),
        "a": (np.arange(2), {3}),
        "n": [float("nan"), float("inf")],
        "d": torch.device("cpu"),
    }
    expected = {"1": 0.5, "a": [[0, 1], [3]], "n": [None, None], "d": "cpu"}
    assert plain(content) == expected
    assert json.loads(json.dumps(plain(content))) == expected
    assert [plain(value) for value in (True, None, "text", 3)] == [True, None, "text", 3]
    assert plain(np.bool_(False)) is False


def test_what_has_no_end():
    circle: list[Any] = []
    circle.append(circle)
    found, depth = plain(circle), 0
    while isinstance(found, list):
        found, depth = found[0], depth + 1
    assert (found, depth) == ("...", DEEPEST + 1)
    wide: list[Any] = [0] * 100
    for _ in range(5):
        wide = [wide] * 100  # 10**12
    assert len(json.dumps(plain(wide))) < 20 * MOST
