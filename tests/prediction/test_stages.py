"""The stages of a case: what happens when the GPU's memory is full, and the seconds of each."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest
import torch
from small_model import phantom

from nnunet_ext.prediction.prepared_case import PreparedCase
from nnunet_ext.prediction.sliding_window import SlidingWindow
from nnunet_ext.prediction.stages import Stages
from nnunet_ext.prediction.trained_model import TrainedModel
from nnunet_ext.resampling.label_export import LabelExport


@pytest.fixture
def stages(write_model) -> Stages:
    model = TrainedModel.load(write_model(folds=(0, 1)), (0, 1))
    return Stages(SlidingWindow(model, torch.device("cpu")), on_device=True)


def case(stages: Stages) -> PreparedCase:
    return PreparedCase.from_array(stages.window.model, phantom((20, 16, 12)), (2.0, 1.3, 1.3))


class Full:
    """Raises an error at the n-th call."""

    def __init__(self, error: RuntimeError, calls: int) -> None:
        self.error, self.left = error, calls

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error


def test_sums_on_the_device_do_not_change_the_labels(stages):
    expected = Stages(stages.window, on_device=False).label(case(stages)).labels
    np.testing.assert_array_equal(stages.label(case(stages)).labels, expected)


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), 1),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), 30),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), 2),
    ],
    ids=str,
)
def test_a_full_gpu(stages, caplog, error, calls):
    """The windows start again, with sums on the CPU; slabs of the first attempt may have been exported already."""
    expected = stages.label(case(stages)).labels
    places, seen = [], []
    slabs = stages.window.slabs
    stages.window.slabs = lambda *a, **k: places.append(k["on_device"]) or slabs(*a, **k)
    full = Full(error, calls)
    hook = stages.window.model.network.register_forward_pre_hook(full)
    with caplog.at_level(logging.INFO, "nnunet_ext"):
        found = stages.label(case(stages), lambda *now: seen.append(now)).labels
    hook.remove()
    assert places == [True, False]
    np.testing.assert_array_equal(found, expected)
    assert [record.getMessage() for record in caplog.records] == [
        "the GPU's memory is full: image and sums of logits of this case are kept in the computer's memory"
    ]
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize(
    ("on_device", "error"),
    [(True, RuntimeError("CUDA error: illegal access")), (False, torch.cuda.OutOfMemoryError("CUDA out of memory"))],
)
def test_other_errors(stages, on_device, error):
    stages.on_device = on_device
    stages.window.model.network.register_forward_pre_hook(Full(error, 2))
    with pytest.raises(RuntimeError) as caught:
        stages.label(case(stages))
    assert caught.value is error


def test_seconds(stages, monkeypatch):
    """By a clock on which a call of the network takes 1 s and the export of a slab 100 s."""
    calls: Counter[str] = Counter()
    monkeypatch.setattr("nnunet_ext.prediction.stages.perf_counter", lambda: calls["network"] + 100.0 * calls["export"])
    stages.window.model.network.register_forward_pre_hook(lambda *_: calls.update(["network"]))
    add = LabelExport.add
    monkeypatch.setattr(LabelExport, "add", lambda *arguments: calls.update(["export"]) or add(*arguments))
    found = stages.label(case(stages))
    assert calls["export"] == 4
    assert (found.network, found.export) == (calls["network"], 400)
