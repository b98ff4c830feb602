"""The network between two others, by hand."""

from __future__ import annotations

import pytest
import torch

from nnunet_ext.weights.interpolation import interpolate, joined_outputs

HEAD = "decoder.seg_layers.0.bias"


def network(value: float, *rows: float) -> dict[str, torch.Tensor]:
    shared = torch.full((2,), float(value))
    return {
        "encoder.a": shared,
        "decoder.encoder.a": shared,
        "count": torch.tensor(int(value)),
        HEAD: torch.tensor(rows),
    }


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (1.0, 5.0)])
def test_every_tensor_is_between(weight: float, expected: float) -> None:
    old, new = network(1, 1.0, 2.0), network(5, 5.0, 2.0)
    found = interpolate(old, new, weight, (("background", "a"), ("background", "a")))
    assert list(found) == list(old)
    assert found["encoder.a"].tolist() == [expected, expected]
    assert found["decoder.encoder.a"].data_ptr() == found["encoder.a"].data_ptr()
    assert found["count"].item() == 5
    assert found[HEAD].tolist() == [expected, 2.0]
    assert old["encoder.a"].tolist() == [1.0, 1.0]


def test_rows_by_name() -> None:
    """In common: the average; else the row of the one that has it."""
    outputs = ("background", "liver", "spleen"), ("background", "tumour", "liver")
    found = interpolate(network(1, 0.0, 10.0, 20.0), network(3, 4.0, 50.0, 30.0), 0.5, outputs)
    assert joined_outputs(*outputs) == ("background", "liver", "spleen", "tumour")
    assert found[HEAD].tolist() == [2.0, 20.0, 20.0, 50.0]


def test_heads_of_the_old_one() -> None:
    old = network(1, 1.0, 2.0)
    found = interpolate(old, network(5, 7.0, 8.0, 9.0), 0.5)
    assert found[HEAD].tolist() == [1.0, 2.0]
    found[HEAD][0] = 9
    assert old[HEAD].tolist() == [1.0, 2.0]


def test_the_first_tensor_that_differs() -> None:
    new = network(5, 5.0, 2.0) | {"encoder.a": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"'encoder.a' of shape \(3,\) instead of \(2,\)"):
        interpolate(network(1, 1.0, 2.0), new, 0.5)
    with pytest.raises(ValueError, match=r"expected 3 rows in 'decoder.seg_layers.0.bias' \(a, b, c\), found 2"):
        interpolate(network(1, 1.0, 2.0), network(1, 1.0, 2.0), 0.5, (("a", "b", "c"), ("a", "b")))
    other = network(1, 1.0, 2.0)
    del other[HEAD]
    with pytest.raises(ValueError, match=f"found '{HEAD}' in one, or of another width"):
        interpolate(network(1, 1.0, 2.0), other, 0.5, (("a", "b"), ("a", "b")))
