"""Which views a patch has, and that they are undone."""

from __future__ import annotations

import pytest
import torch

from nnunet_ext.adaptation.views import View, views_of


def rotations(*arguments: tuple[float, ...]) -> list[tuple[int, ...]]:
    return [view.axes for view in views_of(*arguments) if view.turns == 1]  # type: ignore[arg-type]


def test_rotations_need_equal_edges_and_spacings() -> None:
    assert rotations((16, 16, 16), (1, 1, 1), (0, 1, 2)) == [(1, 2)]  # one plane is enough
    assert rotations((16, 8, 16), (1, 1, 1), (0, 1, 2)) == [(0, 2)]
    assert rotations((16, 8, 16), (3, 1, 1), (0, 1, 2)) == []
    assert rotations((16, 16), (1, 1.1), (0, 1)) == []
    assert rotations((16, 16), (1, 1.0001), (0, 1)) == [(0, 1)]


def test_axes_without_mirroring_are_left_alone() -> None:
    assert views_of((16, 16, 16), (1, 1, 1), ()) == []
    assert views_of((16, 16, 16), (1, 1, 1), (0, 2)) == [View((0,)), View((2,)), *(View((0, 2), n) for n in (1, 2, 3))]


@pytest.mark.parametrize("view", views_of((4, 4, 4), (1, 1, 1), (0, 1, 2)))
def test_a_view_is_undone(view: View) -> None:
    batch = torch.arange(2 * 64.0).reshape(1, 2, 4, 4, 4)
    assert not torch.equal(view.of(batch), batch)
    assert torch.equal(view.undo(view.of(batch)), batch)


def test_axes_are_those_of_the_patch() -> None:
    batch = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert View((0,)).of(batch).flatten().tolist() == [3, 4, 1, 2]
    assert View((0, 1), 1).of(batch).flatten().tolist() == [2, 4, 1, 3]
