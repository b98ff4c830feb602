"""Which cases are kept, and the table of them."""

from __future__ import annotations

import pytest

from nnunet_ext.methods.self_training.selection import Selection, read_kept

FOUND = {"a": 0.5, "b": None, "c": 0.875, "d": 0.75, "e": 1.0}


@pytest.mark.parametrize(
    ("share", "kept"),
    [(0.6, "cde"), (0.8, "acde"), (1, "abcde"), (0.05, "e")],  # 3 of 5, 4 of 5, all, at least one
)
def test_the_most_stable_cases_are_kept(share, kept):
    assert Selection(FOUND, share).kept == tuple(kept)


def test_the_table(tmp_path):
    file = tmp_path / "selection_1.csv"
    Selection(FOUND, 0.6).write(file)
    assert file.read_text() == ("case,stability,kept\ne,1.000000,1\nc,0.875000,1\nd,0.750000,1\na,0.500000,0\nb,,0\n")
    assert read_kept(file) == ("c", "d", "e")


def test_its_summary():
    assert Selection(FOUND, 0.6).summary() == "3 of 5 unlabelled cases kept, stability 0.750 or more"
    assert Selection(FOUND, 1).summary() == "5 of 5 unlabelled cases kept, some without any class"
