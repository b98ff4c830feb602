"""The first tensor in which two networks differ."""

from __future__ import annotations

import pytest
import torch

from nnunet_ext.weights.topology import first_difference, moved_channel

ONE = {"encoder.a": torch.zeros(2, 1), "decoder.seg_layers.0.weight": torch.zeros(2), "z": torch.zeros(1)}
HEAD = "decoder.seg_layers.0.weight"


@pytest.mark.parametrize(
    ("changes", "heads", "expected"),
    [
        ({}, True, None),
        ({HEAD: torch.zeros(3)}, False, None),
        ({HEAD: torch.zeros(3)}, True, f"'{HEAD}' of shape (3,) instead of (2,)"),
        ({"z": torch.zeros(2), "encoder.a": torch.zeros(2)}, True, "'encoder.a' of shape (2,) instead of (2, 1)"),
        ({"more": torch.zeros(1)}, True, "'more', which is one too many"),
        ({"z": None}, True, "none of the name 'z'"),
    ],
)
def test_first_difference(changes: dict[str, torch.Tensor | None], heads: bool, expected: str | None) -> None:
    other = {name: tensor for name, tensor in (ONE | changes).items() if tensor is not None}
    assert first_difference(ONE, other, heads=heads) == expected


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (None, ["CT"], None),
        (["CT"], None, None),
        (["T1", "T2"], ["t1", "t2"], None),
        (["T1", "T2"], ["CT", "PET"], None),
        (["T1", "T2"], ["T1", "FLAIR"], None),
        (["T1", "T2"], ["T2", "T1"], "'T1' as channel 1 instead of 0"),
        (["T1", "T2"], ["FLAIR", "t1"], "'T1' as channel 1 instead of 0"),
        (["CT", "CT"], ["CT", "CT"], None),
    ],
)
def test_moved_channel(ours: list[str] | None, theirs: list[str] | None, expected: str | None) -> None:
    assert moved_channel(ours, theirs) == expected
