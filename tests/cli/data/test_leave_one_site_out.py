"""``nnunet_ext leave_one_site_out``: folds, what is kept, what is refused, and a training that takes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnunet_ext.cli.main import main
from nnunet_ext.data.folds import check_fold, fold_site, fold_sites, split_of
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer

CASES = [f"case_{number:03d}" for number in range(5)]
SITES = dict(zip(CASES, ["Oslo", "Bern", "Oslo", "Bern", "Oslo"], strict=True))
FOLDS = [
    {"site": "Bern", "train": CASES[::2], "val": CASES[1::2]},
    {"site": "Oslo", "train": CASES[1::2], "val": CASES[::2]},
]


@pytest.fixture
def root(half_labelled: Callable[..., Any], tmp_path: Path) -> Path:
    """The folder with raw, preprocessed and results, and with sites.json."""
    half_labelled(NNUNetBaselineTrainer)
    (tmp_path / "plain" / "sites.json").write_text(json.dumps(SITES))
    return tmp_path / "plain"


def run(root: Path, *more: str) -> int:
    return main(["leave_one_site_out", "-d", "700", "--sites", str(root / "sites.json"), *more])


def splits(root: Path) -> Path:
    return root / "preprocessed" / "Dataset700_Half" / "splits_final.json"


def test_cases_that_no_fold_uses_stay_unused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether their sites are known or not."""
    unused = [{"train": CASES[:2], "val": CASES[2:4], "unused": CASES[4:]}]
    splits(root).write_text(json.dumps(unused))
    expected = [
        {"site": "Bern", "train": CASES[:4:2], "val": CASES[1:4:2], "unused": CASES[4:]},
        {"site": "Oslo", "train": CASES[1:4:2], "val": CASES[:4:2], "unused": CASES[4:]},
    ]
    assert run(root) == 0
    assert "splits_final.json says: 1, such as case_004." in capsys.readouterr().out
    assert json.loads(splits(root).read_text()) == expected
    splits(root).write_text(json.dumps(unused))
    (root / "sites.json").write_text(json.dumps({case: SITES[case] for case in CASES[:4]}))
    assert run(root) == 0
    assert json.loads(splits(root).read_text()) == expected
    check_fold(splits(root).parent, CASES, 1)


def checkpoint(root: Path, fold: str) -> None:
    file = root / "results" / "Dataset700_Half" / "nnUNetTrainer__LitePlans__2d" / fold / "checkpoint_best.pth"
    file.parent.mkdir(parents=True)
    file.touch()


def test_a_fold_for_each_site(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "--dry_run") == 0
    shown = capsys.readouterr().out
    assert "| Bern          |    0 |              3 |           2 |" in shown
    assert "| Oslo          |    1 |              2 |           3 |" in shown
    assert "Nothing was written" in shown
    assert not splits(root).exists()
    assert run(root) == 0
    assert json.loads(splits(root).read_text()) == FOLDS
    assert (
        f"{splits(root)} has these folds.\nNext: nnunet_ext compare -d 700 -f 0 1 -p LitePlans -c 3d_fullres "
        in capsys.readouterr().out
    )
    folder = splits(root).parent
    assert fold_sites(folder) == ["Bern", "Oslo"]
    assert [fold_site(folder, fold) for fold in ("all", "0", 1, 2)] == [None, "Bern", "Oslo", None]
    assert split_of(folder, CASES, 1) == (CASES[1::2], CASES[::2])
    check_fold(folder, CASES, 1)


def test_a_training_takes_them(root: Path, half_labelled: Callable[..., Any]) -> None:
    assert run(root) == 0
    trainer = half_labelled(NNUNetBaselineTrainer, "2d", fold=1, num_epochs=1)
    trainer.run_training()
    assert trainer.do_split() == (CASES[1::2], CASES[::2])
    trainer.perform_actual_validation()
    assert len(list((Path(trainer.output_folder) / "validation").glob("*.nii.gz"))) == 3


def test_earlier_folds_are_kept_beside_them(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earlier = [{"train": CASES[1:], "val": CASES[:1]}]
    for number in (1, 2):
        splits(root).write_text(json.dumps(earlier))
        assert run(root) == 0
        copy = splits(root).with_name(f"splits_final.json.before_{number}")
        assert json.loads(copy.read_text()) == earlier
        assert f"The earlier ones: {copy}" in capsys.readouterr().out
    before = splits(root).stat().st_mtime_ns
    assert run(root) == 0  # the same again
    assert splits(root).stat().st_mtime_ns == before
    assert not splits(root).with_name("splits_final.json.before_3").exists()
    assert fold_sites(splits(root).parent) == ["Bern", "Oslo"]
    splits(root).write_text(json.dumps([*FOLDS, *earlier]))
    assert fold_sites(splits(root).parent) == []


def test_folds_of_trained_models_are_not_replaced(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earlier = [{"train": CASES[1:], "val": CASES[:1]}]
    splits(root).write_text(json.dumps(earlier))
    checkpoint(root, "fold_all")  # of no fold
    checkpoint(root, "fold_0")
    assert run(root) == 2
    text = capsys.readouterr().err
    assert "expected no models of other folds, found nnUNetTrainer__LitePlans__2d, fold_0, which could not be" in text
    assert json.loads(splits(root).read_text()) == earlier
    splits(root).unlink()  # it was there as the model was trained
    assert run(root) == 2
    assert run(root, "--replace") == 0
    assert json.loads(splits(root).read_text()) == FOLDS


def test_a_model_of_all_cases_is_no_obstacle(root: Path) -> None:
    splits(root).write_text(json.dumps([{"train": CASES[1:], "val": CASES[:1]}]))
    checkpoint(root, "fold_all")
    assert run(root) == 0


def test_folds_beside_the_images(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Planning would end in an assertion."""
    file = root / "raw" / "Dataset700_Half" / "splits_final.json"
    file.write_text(json.dumps([{"train": CASES[1:], "val": CASES[:1]}]))
    assert run(root) == 2
    assert f"{file}: expected no folds beside the images" in capsys.readouterr().err
    file.write_text(json.dumps(FOLDS))
    assert run(root) == 0


def test_wrong_sites_write_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "sites.json").write_text(json.dumps(SITES | {"case_009": "Oslo"}))
    assert run(root) == 2
    assert "unknown case 'case_009' of Dataset700_Half" in capsys.readouterr().err
    assert not splits(root).exists()
    assert main(["leave_one_site_out", "-d", "700", "--sites", str(root / "none.json")]) == 2
    assert "--sites: expected a file, found none" in capsys.readouterr().err
