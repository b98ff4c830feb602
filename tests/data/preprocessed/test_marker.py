"""The marker beside a folder of preprocessed data, in every state it can be in."""

from pathlib import Path

import pytest

from nnunet_ext.data.preprocessed.marker import DataMarker
from nnunet_ext.errors import UserError


@pytest.fixture
def marker(tmp_path: Path) -> DataMarker:
    """The marker of a folder with two cases that were just written."""
    data = tmp_path / "Plans_2d"
    data.mkdir()
    for name in ("b.pkl", "b.b2nd", "a.pkl", "a.b2nd"):
        (data / name).write_text(name)
    found = DataMarker(data)
    found.finish("these")
    return found


def test_complete(marker):
    assert marker.file == marker.data.parent / "Plans_2d.complete.json"
    assert marker.problem("these") is None
    assert marker.digest() == "these"
    assert marker.cases() == ["a", "b"]
    assert marker.sizes() == {"a.b2nd": 6, "a.pkl": 5, "b.b2nd": 6, "b.pkl": 5}


def test_of_other_plans(marker):
    assert marker.problem("others").startswith("found those of earlier plans or labels")


def test_begun(marker):
    marker.begin("these")
    assert marker.problem("these") == "found part of them: preprocessing was interrupted"
    assert marker.digest() == "these"
    assert (marker.cases(), marker.sizes()) == ([], {})


def test_removed(marker):
    marker.remove()
    marker.remove()
    assert marker.problem("these").startswith("found some without Plans_2d.complete.json")
    assert marker.digest() is None
    assert (marker.cases(), marker.sizes()) == ([], {})


def test_folder_gone(marker):
    marker.data.rename(marker.data.parent / "elsewhere")
    assert marker.problem("these") == "found them deleted"
    marker.remove()
    assert marker.problem("these") == "found none: they were never preprocessed"


def test_files_that_changed(marker):
    (marker.data / "b.pkl").unlink()
    assert marker.problem("these") == "found 1 file changed, missing or new (b.pkl)"
    (marker.data / "a.b2nd").write_text("short")
    assert marker.problem("these") == "found 2 files changed, missing or new (a.b2nd first)"


def test_as_many_files_of_other_names_or_sizes(marker):
    (marker.data / "b.pkl").rename(marker.data / "c.pkl")
    assert marker.problem("these") == "found 2 files changed, missing or new (b.pkl first)"
    (marker.data / "c.pkl").rename(marker.data / "b.pkl")
    assert marker.problem("these") is None
    (marker.data / "b.pkl").write_text("longer than before")
    assert marker.problem("these") == "found 1 file changed, missing or new (b.pkl)"


def test_a_damaged_marker(marker):
    marker.file.write_text("{")
    with pytest.raises(UserError, match="expected JSON"):
        marker.problem("these")
