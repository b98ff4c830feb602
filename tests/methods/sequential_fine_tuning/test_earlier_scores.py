"""The table of what became of the earlier task."""

from __future__ import annotations

import numpy as np

from nnunet_ext.methods.sequential_fine_tuning.earlier_scores import EarlierScores


def step(tp: list[int], fp: list[int], fn: list[int]) -> dict[str, np.ndarray]:
    return {"tp_hard": np.array(tp), "fp_hard": np.array(fp), "fn_hard": np.array(fn)}


def test_by_hand() -> None:
    """Sums over steps: a has 2 x 3 / (2 x 3 + 1 + 1); b did not occur for the first network."""
    outputs = {
        "before": [step([1, 0], [1, 0], [0, 0]), step([2, 0], [0, 0], [1, 0])],
        "after": [step([0, 1], [1, 1], [0, 1])],
    }
    scores = EarlierScores.of_steps(("a", "b"), outputs)
    assert scores.lines() == [
        "| earlier class | before | after |",
        "|---|---|---|",
        "| a | 0.750 | 0.000 |",
        "| b | - | 0.500 |",
        "| mean | 0.750 | 0.250 |",
    ]
    found = scores.as_json()
    assert found["networks"]["before"] == {"classes": {"a": 0.75, "b": None}, "mean": 0.75}
    assert found["networks"]["after"] == {"classes": {"a": 0.0, "b": 0.5}, "mean": 0.25}
    assert found["measure"] == "pseudo Dice of the earlier task"


def test_no_class_occurred() -> None:
    scores = EarlierScores.of_steps(("a",), {"before": [step([0], [0], [0])]})
    assert scores.lines()[-1] == "| mean | - |"
    assert scores.as_json()["networks"]["before"]["mean"] is None
