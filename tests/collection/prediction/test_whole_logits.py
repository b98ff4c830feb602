"""Slabs that are put together for nnU-Net's own export; test_tasks_predictor.py compares the labels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from nnunet_ext.collection.prediction import whole_logits as module
from nnunet_ext.collection.prediction.whole_logits import WholeLogits


@pytest.fixture
def task() -> Any:
    plans = SimpleNamespace(get_label_manager=lambda description: description["labels"])
    return SimpleNamespace(
        task=SimpleNamespace(heads=2),
        plans_manager=plans,
        configuration_manager="configuration",
        dataset_json={"labels": "labels"},
    )


def test_slabs_in_order(task, monkeypatch):
    seen: list[Any] = []
    name = "convert_predicted_logits_to_segmentation_with_correct_shape"
    monkeypatch.setattr(module, name, lambda *parts: seen.extend(parts) or "label map")
    logits = torch.randn(2, 5, 3, 4).half()
    whole = WholeLogits((5, 3, 4), task, {"spacing": [1, 1, 1]})
    buffer = torch.empty(2, 2, 3, 4, dtype=torch.half)
    for slab in logits.split(2, 1):
        part = buffer[:, : slab.shape[1]].copy_(slab)  # overwritten by the next
        whole.add(part)
    assert cast("Any", whole.finish()) == "label map"
    assert torch.equal(seen[0], logits)
    assert seen[1:] == [task.plans_manager, "configuration", "labels", {"spacing": [1, 1, 1]}]


def test_missing_slices(task):
    whole = WholeLogits((5, 3, 4), task, {})
    whole.add(torch.zeros(2, 4, 3, 4))
    with pytest.raises(ValueError, match="expected 5 slices of logits, found 4"):
        whole.finish()
