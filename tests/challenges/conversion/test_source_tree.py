"""Where the cases are, and everything that is missing in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_ext.challenges.conversion.source_tree import SourceTree
from nnunet_ext.errors import UserError


def test_the_first_folder_with_cases(tmp_path: Path) -> None:
    for name in ("b/case_1", "c/case_1", "._case_9", "b/._case_7", "b/notes", "b/case_0"):
        (tmp_path / name).mkdir(parents=True)
    tree = SourceTree.find(tmp_path, ("", "a", "b", "c"), r".*case_\d", "cases")
    assert tree.root == tmp_path / "b"
    assert [path.name for path in tree.cases(r"case_\d")] == ["case_0", "case_1"]


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(UserError, match=r"expected cases in it or in a, b, found readme\.txt\. Name the folder"):
        SourceTree.find(tmp_path, ("", "a", "b"), "case", "cases")
    with pytest.raises(UserError, match="expected cases in it, found no folder"):
        SourceTree.find(tmp_path / "none", ("",), "case", "cases")


def test_all_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "second").touch()
    tree = SourceTree(tmp_path)
    assert tree.need(tmp_path / "first", tmp_path / "second") == tmp_path / "second"
    tree.check()
    assert tree.need(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    tree.note(tmp_path / "c", "nor d")
    with pytest.raises(UserError, match=r"found no a/b, c \(nor d\)\. Add them, or remove the incomplete cases\."):
        tree.check()
