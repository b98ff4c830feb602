"""How epochs are shared, by hand."""

from __future__ import annotations

import pytest

from nnunet_ext.methods.self_training.part_lengths import part_lengths


@pytest.mark.parametrize(
    ("epochs", "supervised", "rounds", "last", "expected"),
    [
        (1000, 0.55, 2, 0.0, (550, 225, 225)),
        (110, 0.55, 2, 0.0, (61, 24, 25)),
        (40, 0.55, 2, 0.1, (22, 7, 7, 4)),
        (10, 0.5, 1, 0.0, (5, 5)),
        (7, 0.9, 3, 0.05, (3, 1, 1, 1, 1)),  # each has one
        (4, 0.01, 2, 0.0, (1, 1, 2)),
        (3, 0.55, 5, 0.2, (1, 1, 1)),  # the later rounds are left out
        (3, 0.55, 5, 0.0, (1, 1, 1)),
        (2, 0.55, 2, 0.2, (1, 1)),  # then fine-tuning
        (1, 0.55, 2, 0.2, (1,)),
        (9, 0.55, 0, 0.2, (9,)),
    ],
)
def test_lengths(epochs, supervised, rounds, last, expected):
    assert part_lengths(epochs, supervised, rounds, last) == expected
    assert sum(expected) == epochs
