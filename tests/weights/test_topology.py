"""The first tensor in which two networks differ."""

from __future__ import annotations

import pytest
import torch

from nnunet_ext.weights.topology import first_difference

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
