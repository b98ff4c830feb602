"""Rankings worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from nnunet_ext.challenges.challenge import Challenge
from nnunet_ext.challenges.kipa22 import kipa22
from nnunet_ext.challenges.kits21 import kits21
from nnunet_ext.challenges.ranking import rank, read_table
from nnunet_ext.challenges.segrap2023 import segrap2023
from nnunet_ext.errors import UserError

pytestmark = pytest.mark.smoke


def tables(folder: Path, challenge: Challenge, teams: Mapping[str, Mapping[str, tuple[float, ...]]]) -> dict[str, Path]:
    found = {}
    for team, cases in teams.items():
        rows = [",".join([challenge.case_column, *challenge.columns])]
        rows += [",".join([name, *map(str, values)]) for name, values in cases.items()]
        found[team] = folder / f"{team}.csv"
        found[team].write_text("\n".join([*rows, "average" + ",9" * len(challenge.columns)]) + "\n")
    return found


def test_kits21_ranks_dice_and_surface_dice(tmp_path: Path) -> None:
    """Mean Dice 0.6, 0.5, 0.7 and mean SD 0.5, 0.6, 0.5: ranks 2, 3, 1 and 2, 1, 2, so 2, 2, 1.5; tumor 0.2, 0.4."""
    teams = {
        "a": {"case_00000": (0.8, 0.8, 0.2, 0.5, 0.5, 0.5), "case_00001": (0.8, 0.8, 0.2, 0.5, 0.5, 0.5)},
        "b": {"case_00000": (0.6, 0.6, 0.3, 0.6, 0.6, 0.6), "case_00001": (0.5, 0.5, 0.5, 0.6, 0.6, 0.6)},
        "c": {"case_00000": (0.7, 0.7, 0.7, 0.5, 0.5, 0.5), "case_00001": (0.7, 0.7, 0.7, 0.5, 0.5, 0.5)},
    }
    found = rank(kits21(), tables(tmp_path, kits21(), teams))
    assert [(each.team, each.place) for each in found] == [("c", 1), ("b", 2), ("a", 3)]
    b = found[1].numbers
    assert b["mean Dice"] == pytest.approx(0.5, abs=1e-12)
    assert b["mean SD"] == pytest.approx(0.6, abs=1e-12)
    assert (b["rank by mean Dice"], b["rank by mean SD"], b["mean rank"]) == (3.0, 1.0, 2.0)
    assert b["Dice_tumor"] == pytest.approx(0.4, abs=1e-12)
    assert found[0].numbers["rank by mean SD"] == 2.0
    assert found[0].numbers["mean rank"] == 1.5


def test_equal_teams_share_a_place(tmp_path: Path) -> None:
    row = {"case_00000": (0.5,) * 6}
    found = rank(kits21(), tables(tmp_path, kits21(), {"a": row, "b": row, "c": {"case_00000": (0.4,) * 6}}))
    assert [(each.team, each.place) for each in found] == [("a", 1), ("b", 1), ("c", 3)]


def test_segrap2023_ranks_each_structure_and_metric(tmp_path: Path) -> None:
    """Ranks of a: 1, 1, 1, 2; of b: 2, 2, 2, 1; of c: 3, 3, 2, 3; divided by 4 numbers and 3 teams."""
    teams = {
        "a": {"x": (0.9, 0.9, 0.9, 0.1), "y": (0.7, 0.7, 0.9, 0.1)},
        "b": {"x": (0.5, 0.5, 0.4, 0.9), "y": (0.5, 0.5, 0.6, 0.9)},
        "c": {"x": (0.1, 0.1, 0.5, 0.0), "y": (0.1, 0.1, 0.5, 0.0)},
    }
    found = rank(segrap2023("gtv"), tables(tmp_path, segrap2023("gtv"), teams))
    assert [(each.team, each.place) for each in found] == [("a", 1), ("b", 2), ("c", 3)]
    assert [each.numbers["mean rank / teams"] for each in found] == pytest.approx([5 / 12, 7 / 12, 11 / 12], abs=1e-12)
    assert found[0].numbers["mean DSC"] == pytest.approx(0.85, abs=1e-12)
    assert found[0].numbers["mean NSD"] == pytest.approx(0.45, abs=1e-12)


def test_an_unknown_rule(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="expected kits21, segrap2023_oar, segrap2023_gtv, found kipa22: its rule is not"
    ):
        rank(kipa22(), {})


def test_teams_with_other_cases(tmp_path: Path) -> None:
    teams = {"a": {"case_00000": (0.5,) * 6}, "b": {"case_00000": (0.5,) * 6, "case_00001": (0.5,) * 6}}
    with pytest.raises(UserError, match=r"b\.csv: expected the cases of .*a\.csv, found a difference in 'case_00001'"):
        rank(kits21(), tables(tmp_path, kits21(), teams))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("case,GTVp_DSC\nx,1\n", r"expected the columns case,GTVp_DSC,GTVp_NSD,.*found case,GTVp_DSC\."),
        ("", r"expected the columns case.*found nothing"),
        ("HEAD\naverage,1,1,1,1\n", "expected a row for each case, found none"),
        ("HEAD\nx,1,1,,1\n", "expected numbers from 0 to 1, found '' for 'x'"),
        ("HEAD\nx,1,1,nan,1\n", "expected numbers from 0 to 1, found 'nan' for 'x'"),
        ("HEAD\nx,1,1,87.5,1\n", "expected numbers from 0 to 1, found '87.5' for 'x'.*no percentages"),
        ("HEAD\rx,1,1,1,1\r", r"t\.csv: expected a table, got another file \(new-line"),
        ("HEAD\nx,1,1,1,1\nx,1,1,1,1\n", "expected each case once and whole, found otherwise in 'x'"),
        ("HEAD\nx,1,1,1\n", "expected each case once and whole, found otherwise in 'x'"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, expected: str) -> None:
    text = text.replace("HEAD", "case,GTVp_DSC,GTVp_NSD,GTVnd_DSC,GTVnd_NSD")
    (tmp_path / "t.csv").write_bytes(text.encode())
    with pytest.raises(UserError, match=expected):
        read_table(tmp_path / "t.csv", segrap2023("gtv"))


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.csv: expected a table, got 'No such file or directory'"):
        read_table(tmp_path / "t.csv", segrap2023("gtv"))
