"""Before and after, by hand."""

from __future__ import annotations

import json
import math

import pytest

from nnunet_ext.methods.fine_tune.guard import Guard

NAN = math.nan
GUARD = Guard("source.pth", ("liver", "tumour", "vessel", "new"), ("liver", "tumour", "vessel"), (0.9, 0.5, NAN, 0.1))


def test_a_guard_travels_in_a_checkpoint():
    again = Guard.from_json(json.loads(json.dumps(GUARD.as_json())))
    assert again.classes == GUARD.classes
    assert again.known == GUARD.known
    assert again.before == pytest.approx(GUARD.before, nan_ok=True)


def test_better_and_worse():
    report = GUARD.report(best=[0.95, 0.5, 0.7, 0.8], final=[0.91, 0.4, 0.6, 0.7])
    assert report.lines() == [
        "| class | before | after | best | |",
        "|---|---|---|---|---|",
        "| liver | 0.900 | 0.910 | 0.950 | better |",
        "| tumour | 0.500 | 0.400 | 0.500 | worse |",
        "| vessel | - | 0.600 | 0.700 | did not occur |",
        "| new | 0.100 | 0.700 | 0.800 | new |",
        "WARNING: checkpoint_final.pth is worse than the model that the training started from, in the mean over the "
        "classes that it knew (0.700 -> 0.655): tumour 0.500 -> 0.400. Predict with the start (-chk "
        "checkpoint_start.pth), or train again with a smaller initial_lr, more cases, or fine_tune.strategy=lora.",
    ]
    content = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert content["classes"][1] == {
        "class": "tumour", "known": True, "before": 0.5, "best": 0.5, "after": 0.4, "verdict": "worse",
    }  # fmt: skip
    assert content["classes"][2]["before"] is None
    assert content["warnings"] == report.warnings()
    assert content["source"] == "source.pth"


@pytest.mark.parametrize(
    ("best", "final", "worse"),
    [
        ([0.9, 0.5, NAN, 0.0], [0.9, 0.5, NAN, 0.0], []),
        ([1.0, 0.3, 0.0, 0.0], [0.8, 0.7, 0.0, 0.0], ["checkpoint_best.pth"]),
        ([0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], ["checkpoint_best.pth", "checkpoint_final.pth"]),
        ([NAN, 0.5, 0.0, 0.0], [NAN, 0.4, 1.0, 0.0], ["checkpoint_final.pth"]),
        ([NAN, NAN, 0.0, 0.0], [NAN, NAN, 0.0, 0.0], []),
    ],
)
def test_only_the_mean_over_known_classes_that_occurred_warns(best, final, worse):
    assert [line.split()[1] for line in GUARD.report(best, final).warnings()] == worse


def test_nothing_known():
    guard = Guard("source.pth", ("new",), (), (0.9,))
    report = guard.report([0.1], [0.1])
    assert report.warnings() == []
    assert report.lines()[-1] == "| new | 0.900 | 0.100 | 0.100 | new |"


def test_classes_that_nobody_annotated_are_marked_and_never_warn():
    """Their scores begin near 1, at the agreement of a network with itself."""
    guard = Guard("source.pth", ("liver", "tumour"), ("liver", "tumour"), (0.99, 0.5), ("liver",))
    report = guard.report(best=[0.5, 0.6], final=[0.5, 0.6])
    assert report.lines()[2:] == [
        "| liver | 0.990 | 0.500 | 0.500 | agreement with the source |",
        "| tumour | 0.500 | 0.600 | 0.600 | better |",
    ]
    assert report.as_json()["classes"][0]["verdict"] == "agreement with the source"
    assert Guard.from_json(json.loads(json.dumps(guard.as_json()))) == guard
    older = {key: value for key, value in guard.as_json().items() if key != "kept"}
    assert Guard.from_json(older).kept == ()
