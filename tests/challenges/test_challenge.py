"""What a challenge measures: labels, columns, files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_ext.challenges.challenge import Challenge, Measure, Structure, columns_by_metric, label_files
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import DICE, EmptyRule, surface_dice

pytestmark = pytest.mark.smoke
RULE = EmptyRule(1.0, 0.0)


def challenge() -> Challenge:
    structures = tuple(
        Structure(name, labels, (Measure(f"D {name}", DICE, RULE), Measure(f"S {name}", surface_dice(1.0), RULE)))
        for name, labels in (("whole", (3, 1)), ("core", (3,)))
    )
    return Challenge("any", structures, columns_by_metric(structures), "reference", ending=".nrrd")


def test_columns_and_labels() -> None:
    assert challenge().columns == ("D whole", "D core", "S whole", "S core")
    assert list(challenge().measures) == ["D whole", "S whole", "D core", "S core"]
    assert challenge().labels == (1, 3)


def test_files(tmp_path: Path) -> None:
    for name in ("b.nrrd", "a.nrrd", "._a.nrrd", "c.nii.gz", "notes.txt"):
        (tmp_path / name).touch()
    expected = {"a": tmp_path / "a.nrrd", "b": tmp_path / "b.nrrd"}
    assert label_files(tmp_path, ".nrrd") == challenge().predictions(tmp_path) == challenge().references(tmp_path)
    assert label_files(tmp_path, ".nrrd") == expected
    assert challenge().example(tmp_path / "a.nrrd") == tmp_path / "a.nrrd"


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected label maps CASE\.nrrd, found none\. Check the path"):
        challenge().references(tmp_path)
