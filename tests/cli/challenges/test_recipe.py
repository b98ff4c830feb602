"""``nnunet_ext recipe``: shows settings of teams, and writes what plans can have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nnunet_ext.cli.main import main
from nnunet_ext.collection.planning.member_state import check_complete

FOLDER = Path("preprocessed/Dataset901_Phantom")
WORDS = ["-d", "901", "-p", "LitePlans", "--as", "Teams"]


def plans(root: Path, name: str) -> dict:
    return json.loads((root / FOLDER / f"{name}.json").read_text())


def test_all_teams_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "segrap2023_oar"]) == 0
    told = capsys.readouterr().out
    assert "uniseg: 2nd; validation DSC 88.82" in told
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in told.splitlines()]
    assert ["num_epochs", "1500", "knob", "paper of team UniSeg"] in lines
    assert ["patch_size", "[32, 192, 192]", "plans, 3d_fullres", "paper of team UniSeg"] in lines
    command = "nnunet_ext convert segrap2023_oar SRC -d ID --channels non_contrast"
    assert ["channels", "non_contrast alone", command, "paper of team DKFZ"] in lines
    assert main(["recipe", "segrap2023_oar", "--team", "multitalent"]) == 0
    assert "uniseg" not in capsys.readouterr().out


def test_written_plans(preprocessed_phantom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "segrap2023_gtv", "--team", "uniseg", *WORDS]) == 0
    assert "Train with -tr NNUNetBaselineTrainer -p Teams" in capsys.readouterr().out
    old, new = plans(preprocessed_phantom, "LitePlans"), plans(preprocessed_phantom, "Teams")
    assert new["nnunet_ext"] == old["nnunet_ext"] | {"num_epochs": 1000}
    changed = {"patch_size": [64, 192, 192], "batch_size": 2}
    assert new["configurations"]["3d_fullres"] == old["configurations"]["3d_fullres"] | changed
    assert new["configurations"]["2d"] == old["configurations"]["2d"]
    check_complete(preprocessed_phantom / FOLDER, new, "3d_fullres")  # the preprocessed data serve both
    assert main(["recipe", "segrap2023_gtv", "--team", "uniseg", "--keep_patch", *WORDS[:-1], "Kept"]) == 0
    assert plans(preprocessed_phantom, "Kept")["configurations"] == old["configurations"]
    assert main(["recipe", "segrap2023_gtv", *WORDS[:-1], "First"]) == 0
    assert plans(preprocessed_phantom, "First")["nnunet_ext"]["mirror_axes"] == []


def test_mistakes(nnunet: Path, mistake: Callable[[str], str]) -> None:
    words = " ".join(WORDS)
    assert mistake("recipe kits21 -d 901 -p LitePlans").startswith(
        "recipe: expected -d, -p and --as to write plans, fou"
    )
    assert "found baseline, whose settings are commands" in mistake(f"recipe kits21 {words}")
    assert "invalid choice: 'btcv'" in mistake("recipe btcv")
    file = nnunet / FOLDER / "LitePlans.json"
    planned = json.loads(file.read_text())
    planned["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["strides"][1] = [3, 1, 1]
    file.write_text(json.dumps(planned))
    text = mistake(f"recipe segrap2023_oar {words}")
    assert text.startswith(
        "plans 'Teams', configuration '3d_fullres': expected a network for a patch of [32, 192, 192]"
    )
    assert text.endswith("Keep the patch (--keep_patch).")
    del planned["configurations"]["3d_fullres"]
    file.write_text(json.dumps(planned))
    assert "with the configuration '3d_fullres', to change its patch" in mistake(f"recipe segrap2023_oar {words}")
    assert not (nnunet / FOLDER / "Teams.json").exists()
