"""A folder of pseudo-labels: whole cases only, of one network."""

from __future__ import annotations

from pathlib import Path

import blosc2
import numpy as np

from nnunet_ext.semi_supervised.pseudo_labels import PseudoLabelFolder

LABELS = np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4)


def write(folder: PseudoLabelFolder, case: str) -> None:
    like = blosc2.asarray(LABELS, chunks=(1, 2, 3, 4), blocks=(1, 1, 3, 4))
    folder.write(case, LABELS, {1: [[0, 0, 0, 1]]}, like)


def test_a_case(tmp_path: Path):
    folder = PseudoLabelFolder(tmp_path / "labels")
    folder.begin("a")
    assert not folder.has("one")
    write(folder, "one")
    assert folder.has("one")
    saved = blosc2.open(str(folder.place / "one.b2nd"))
    assert np.array_equal(saved[:], LABELS)
    assert (saved.dtype, saved.chunks, saved.blocks) == (np.int16, (1, 2, 3, 4), (1, 1, 3, 4))
    assert folder.class_locations("one") == {1: [[0, 0, 0, 1]]}


def test_the_same_network_goes_on_another_begins_anew(tmp_path: Path):
    folder = PseudoLabelFolder(tmp_path / "labels")
    folder.begin("a")
    write(folder, "one")
    (folder.place / "two.b2nd").touch()  # its .pkl never came
    folder.begin("a")
    assert (folder.has("one"), folder.has("two")) == (True, False)
    folder.begin("b")
    assert not folder.has("one")


def test_what_was_changed_after_the_end_is_made_anew(tmp_path: Path):
    folder = PseudoLabelFolder(tmp_path / "labels")
    folder.begin("a")
    assert "part of them" in str(folder.marker.problem("a"))
    write(folder, "one")
    folder.finish("a")
    assert folder.marker.problem("a") is None
    assert folder.marker.cases() == ["one"]
    assert not folder.partial.exists()
    (folder.place / "one.b2nd").write_bytes(b"")
    assert "changed" in str(folder.marker.problem("a"))
    folder.begin("a")
    assert not folder.has("one")
