"""Records that are none, and records that cannot be compared."""

import json

import pytest

from nnunet_ext.comparison.record import FORMAT, NEEDED, check_alike, read_record
from nnunet_ext.errors import UserError


def record(name, fold="0", cases=("a", "b"), classes=("organ",), label="7f"):
    scores = {case: {key: {} for key in classes} for case in cases}
    return {"name": name, "fold": fold, "cases": scores, "cases_sha256": dict.fromkeys(cases, label)}


def test_whole_records_are_read(tmp_path):
    content = dict.fromkeys(NEEDED, "x") | {"format": FORMAT}
    file = tmp_path / "one.json"
    file.write_text(json.dumps(content))
    assert read_record(file) == content
    for other in (content | {"format": FORMAT + 1}, {"format": FORMAT}, []):
        file.write_text(json.dumps(other))
        with pytest.raises(UserError, match=r"one\.json: expected the record of a run"):
            read_record(file)


def test_runs_of_one_fold_have_the_same_cases_and_classes():
    check_alike([record("x"), record("y", cases=("b", "a")), record("x", "1", cases=("c",))])
    with pytest.raises(UserError, match=r"fold 0: .* got others for 'y' \(1 cases\) than for 'x' \(2\)"):
        check_alike([record("x"), record("y", cases=("a",))])
    with pytest.raises(UserError, match="the same cases, files and classes"):
        check_alike([record("x"), record("y", classes=("organ", "tumour"))])
    with pytest.raises(UserError, match="the same cases, files and classes"):
        check_alike([record("x"), record("y", label="8f")])
