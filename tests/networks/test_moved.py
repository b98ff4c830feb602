"""Values of a layer in another place of a larger, or smaller, one."""

import pytest
import torch

from nnunet_ext.networks.moved import moved

OLD = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
FRESH = torch.full((3, 4), 9.0)


def test_rows_and_columns_move_and_new_columns_are_silent_for_old_rows():
    found = moved(FRESH, OLD, [(2, 0), (0, 1)], [(3, 0), (1, 2)])
    assert found is not None
    assert found.tolist() == [[0, 6, 0, 4], [9, 9, 9, 9], [0, 3, 0, 1]]
    assert FRESH.unique().tolist() == [9]


def test_rows_alone():
    found = moved(torch.full((3, 3), 9.0), OLD, [(2, 0)])
    assert found is not None
    assert found.tolist() == [[9] * 3, [9] * 3, [1, 2, 3]]
    bias = moved(torch.full((3,), 9.0), OLD[:, 0], [(2, 0)], [(0, 0)])
    assert bias is not None
    assert bias.tolist() == [9, 9, 1]
    nothing = moved(FRESH, OLD, [], [])
    assert nothing is not None
    assert torch.equal(nothing, FRESH)


@pytest.mark.parametrize(
    ("fresh", "old", "outputs", "inputs"),
    [
        ((3, 4), None, [], None),
        ((3, 4), (3,), [], None),
        ((3, 4), (3, 5), [(0, 0)], None),  # another width, and nobody says which inputs are which
        ((3, 4, 3), (3, 4, 1), [(0, 0)], [(0, 0)]),  # another kernel
        ((2, 4), (3, 4), [(2, 2)], None),
        ((3, 4), (2, 4), [(2, 2)], None),
        ((3, 4), (3, 5), [(0, 0)], [(4, 4)]),
        ((3, 5), (3, 4), [(0, 0)], [(4, 4)]),
        ((), (), [], None),
    ],
)
def test_what_does_not_fit(fresh, old, outputs, inputs):
    given = None if old is None else torch.zeros(old)
    assert moved(torch.zeros(fresh), given, outputs, inputs) is None
