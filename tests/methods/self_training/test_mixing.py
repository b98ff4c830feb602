"""Which steps mix, the box, and what is exchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_ext.methods.self_training.mixing import exchange, mixing_box
from nnunet_ext.seeding.seeds import Purpose, seed_sequence


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def place(box: torch.Tensor) -> list[tuple[int, int]]:
    """First and last voxel of the box along each axis."""
    found = box[0, 0].nonzero()
    return list(zip(found.amin(0).tolist(), found.amax(0).tolist(), strict=True))


@pytest.mark.parametrize(("share", "mixed"), [(0, 0), (0.5, 200), (1, 400)])
def test_so_many_steps_mix(share, mixed):
    draws = generator(0)
    boxes = [mixing_box((4, 4), share, (0.3, 0.67), draws) for _ in range(400)]
    assert sum(box is not None for box in boxes) == pytest.approx(mixed, abs=30 * (0 < share < 1))


def test_without_mixing_nothing_is_drawn():
    draws = generator(0)
    mixing_box((4, 4), 0, (0.3, 0.67), draws)
    assert draws.random() == generator(0).random()


def test_edges_reach_from_the_smallest_to_the_largest_each_on_its_own():
    draws, edges = generator(0), set()
    for _ in range(500):
        box = mixing_box((20, 10), 1, (0.3, 0.67), draws)
        assert int(box.sum()) == np.prod([last - first + 1 for first, last in place(box)])  # nothing but a box
        edges.add(tuple(last - first + 1 for first, last in place(box)))
    assert {tall for tall, _ in edges} == set(range(6, 14))
    assert {wide for _, wide in edges} == set(range(3, 7))
    assert len(edges) == 8 * 4


def test_the_box_of_a_seed_and_a_step():
    """Whatever else was drawn before: the numbers that resumed trainings rely on."""
    drawn = np.random.default_rng(seed_sequence(3, 0, Purpose.BOXES, 5, 7))
    box = mixing_box((24, 40, 48), 1, (0.3, 0.67), drawn)
    assert place(box) == [(10, 21), (9, 33), (20, 39)]


@pytest.mark.parametrize(("labelled", "others"), [(2, 2), (2, 3), (3, 2)])
def test_pairs_are_exchanged_inside_the_box_at_every_scale(labelled, others):
    box = torch.zeros(1, 1, 4, 8, dtype=torch.bool)
    box[..., :2, 2:6] = True
    one = [torch.full((labelled, 1, 4, 8), 1), torch.full((labelled, 1, 2, 4), 1)]
    other = [torch.full((others, 1, 4, 8), 2), torch.full((others, 1, 2, 4), 2)]
    mixed, back = exchange(one, other, box)
    assert mixed[0][0, 0].tolist() == [[1, 1, 2, 2, 2, 2, 1, 1]] * 2 + [[1] * 8] * 2
    assert back[0][1, 0].tolist() == [[2, 2, 1, 1, 1, 1, 2, 2]] * 2 + [[2] * 8] * 2
    assert mixed[1][1, 0].tolist() == [[1, 2, 2, 1], [1] * 4]
    assert [len(each[0]) for each in (mixed, back)] == [labelled, others]
    assert (mixed[0][2:] == 1).all()  # without a partner
    assert (back[0][2:] == 2).all()
