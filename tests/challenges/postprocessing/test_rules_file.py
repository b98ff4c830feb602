"""The file of rules, and the label maps that it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnunet_ext.challenges.kits21 import kits21
from nnunet_ext.challenges.postprocessing.rule import Rule
from nnunet_ext.challenges.postprocessing.rules_file import RulesFile
from nnunet_ext.errors import UserError

LABELS = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rules = RulesFile.of(kits21(), (Rule("tumor", "minimum_volume", 12.5),), LABELS)
    (tmp_path / "rules.json").write_text(json.dumps(rules.as_json() | {"decisions": []}))
    assert RulesFile.read(tmp_path / "rules.json") == rules
    assert rules.labels == (1, 2, 3)


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"rules": 3}, {"rules": [{"structure": "liver"}]}, {"structures": [1]}, {"structures": {"a": 1}}],
    ids=str,
)
def test_other_files_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    rules = RulesFile.of(kits21(), (), None).as_json()
    (tmp_path / "rules.json").write_text(json.dumps(rules | change))
    with pytest.raises(UserError, match=r"rules\.json: expected rules"):
        RulesFile.read(tmp_path / "rules.json")


def test_other_labels_are_refused() -> None:
    rules = RulesFile.of(kits21(), (), LABELS)
    where = Path("dataset.json")
    rules.check({"labels": LABELS, "file_ending": ".nii.gz"}, where)
    with pytest.raises(UserError, match=r"dataset\.json: expected the labels that the rules were learned for"):
        rules.check({"labels": LABELS | {"tumor": 3}, "file_ending": ".nii.gz"}, where)
    with pytest.raises(UserError, match=r"expected file_ending '\.nii\.gz'.*found '\.mha'"):
        rules.check({"labels": LABELS, "file_ending": ".mha"}, where)
    RulesFile.of(kits21(), (), None).check({"labels": {"tumor": 3}, "file_ending": ".nii.gz"}, where)
