"""``nnunet_ext rank``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nnunet_ext.cli.main import main

pytestmark = pytest.mark.smoke
HEAD = "caseID,Dice_kidney,Dice_masses,Dice_tumor,SD_kidney,SD_masses,SD_tumor\n"


def test_the_best_team_is_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for team, value in (("ours", 0.5), ("theirs", 0.75)):
        (tmp_path / f"{team}.csv").write_text(f"{HEAD}case_00000{f',{value}' * 6}\n")
    assert main(["rank", "kits21", f"ours={tmp_path / 'ours.csv'}", f"theirs={tmp_path / 'theirs.csv'}"]) == 0
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:4] == ["place", "team", "mean Dice", "mean SD"]
    assert lines[2][:4] == ["1", "theirs", "0.7500", "0.7500"]
    assert lines[3][:4] == ["2", "ours", "0.5000", "0.5000"]


def test_mistakes(tmp_path: Path, mistake: Callable[[str], str]) -> None:
    assert mistake("rank kits21 ours=a.csv").startswith("rank: expected the tables of at least two teams, found one.")
    assert "expected NAME=OTHER with each name once, got 'a.csv'" in mistake("rank kits21 a.csv b.csv")
    assert "expected a table" in mistake(f"rank kits21 a={tmp_path / 'a.csv'} b={tmp_path / 'b.csv'}")
    assert "invalid choice: 'kipa22'" in mistake("rank kipa22 a=a.csv b=b.csv")
