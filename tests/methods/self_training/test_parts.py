"""How epochs are shared, by hand."""

from __future__ import annotations

import pytest

from nnunet_ext.methods.self_training.parts import Parts, share_epochs


@pytest.mark.parametrize(
    ("epochs", "supervised", "rounds", "last", "expected"),
    [
        (1000, 0.55, 2, 0.0, Parts(550, (225, 225))),
        (110, 0.55, 2, 0.0, Parts(61, (24, 25))),
        (40, 0.55, 2, 0.1, Parts(22, (7, 7), 4)),
        (10, 0.5, 1, 0.0, Parts(5, (5,))),
        (7, 0.9, 3, 0.05, Parts(3, (1, 1, 1), 1)),  # each has one
        (4, 0.01, 2, 0.0, Parts(1, (1, 2))),
        (3, 0.55, 5, 0.2, Parts(1, (1,), 1)),  # the later rounds are left out
        (3, 0.55, 5, 0.0, Parts(1, (1, 1))),
        (2, 0.55, 2, 0.2, Parts(1, (1,))),  # then the last part
        (1, 0.55, 2, 0.2, Parts(1)),
        (9, 0.55, 0, 0.2, Parts(9)),
    ],
)
def test_epochs_of_each_part(epochs, supervised, rounds, last, expected):
    assert share_epochs(epochs, supervised, rounds, last) == expected
    assert sum(expected.lengths) == epochs
    assert min(expected.lengths) > 0
