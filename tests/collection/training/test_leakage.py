"""No case trains in one member of a collection and validates in another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.run.run_training import run_training

from nnunet_ext.cli.models.train import Train
from nnunet_ext.collection.training.leakage import Split, check_splits
from nnunet_ext.errors import UserError
from nnunet_ext.methods.multi_head.trainer import MultiHeadTrainer

NAME, PLANS = "Dataset930_Sharing", "CollectionLitePlans"
WHOLE, AGAIN, PART = "Dataset910_Whole", "Dataset911_Again", "Dataset931_Part"
CASES = [f"case_{number:03d}" for number in range(5)]
LEAK = r"^Dataset930_Sharing, fold {}: expected no case to train in one member and to validate in another, found "


def folds(root: Path, dataset: str, change: Any = None) -> list[dict[str, list[str]]]:
    """Return the folds of a dataset, after changing them."""
    file = root / "preprocessed" / dataset / "splits_final.json"
    found = json.loads(file.read_text())
    if change is not None:
        change(found)
        file.write_text(json.dumps(found))
    return found


def put(root: Path, dataset: str, found: list[dict[str, list[str]]]) -> None:
    """Write folds; cases in none of them are left out on purpose."""
    truths = root / "preprocessed" / dataset / "gt_segmentations"
    unused = {file.name.removesuffix(".nii.gz") for file in truths.iterdir()}
    unused -= {name for fold in found for names in fold.values() for name in names}
    found = [found[0] | {"unused": sorted(unused)}, *found[1:]]
    (root / "preprocessed" / dataset / "splits_final.json").write_text(json.dumps(found))


@pytest.fixture
def alike(sharing: Path) -> Path:
    """All members have one case in each validation fold, the same image."""
    names = dict(zip(CASES, [f"again_{number}" for number in reversed(range(5))], strict=True))
    whole = [{"train": [other for other in CASES if other != case], "val": [case]} for case in CASES]
    put(sharing, WHOLE, whole)
    put(sharing, AGAIN, [{key: [names[case] for case in fold[key]] for key in fold} for fold in whole])
    put(sharing, PART, [{key: [case for case in fold[key] if case in CASES[:4]] for key in fold} for fold in whole])
    return sharing


def trainer(root: Path, fold: int | str = 0) -> MultiHeadTrainer:
    folder = root / "preprocessed" / NAME
    plans = json.loads((folder / f"{PLANS}.json").read_text()) | {"continue_training": False}
    description = json.loads((folder / "dataset.json").read_text())
    return MultiHeadTrainer(plans, "3d_fullres", fold, description, torch.device("cpu"))


def check(root: Path, fold: int = 0) -> None:
    """As both commands do before they train."""
    Train(["930", "3d_fullres", str(fold), "-tr", "MultiHeadTrainer", "-p", PLANS, "-device", "cpu"]).check()
    trainer(root, fold).check_leakage()


def refused(root: Path, fold: int = 0) -> str:
    """Return what the trainer says, after seeing that nnunet_ext train says the same."""
    with pytest.raises(UserError, match=LEAK.format(fold)) as ours:
        Train(["930", "3d_fullres", str(fold), "-tr", "MultiHeadTrainer", "-p", PLANS, "-device", "cpu"]).check()
    with pytest.raises(UserError, match=LEAK.format(fold)) as theirs:
        trainer(root, fold).get_dataloaders()
    assert str(ours.value) == str(theirs.value)
    return str(ours.value)


def test_the_same_folds_for_all(alike):
    for fold in range(4):
        check(alike, fold)
    trainer(alike, "all").check_leakage()  # trains and validates on all, as everybody knows


def test_new_splits_for_a_source(alike):
    """As nnU-Net's documentation says: a splits_final.json into nnUNet_preprocessed."""
    folds(alike, WHOLE, lambda found: found.reverse())
    put(alike, AGAIN, [{"train": ["again_1"], "val": []}])  # case_003
    message = refused(alike)
    assert f"found {PART}/case_000, which is trained on as {WHOLE}/case_000. Give both datasets the same" in message
    put(alike, PART, [{"train": ["case_003"], "val": ["case_002"]}])
    put(alike, AGAIN, [{"train": ["again_0"], "val": []}])
    with pytest.raises(UserError, match=rf"found {WHOLE}/case_004, which is trained on as {AGAIN}/again_0"):
        trainer(alike).check_leakage()


def test_a_part_of_a_part_beyond_the_last_fold(alike):
    """nnU-Net draws a split for each dataset; the manifest knows no common source of these two."""
    tasks = json.loads((alike / "raw" / NAME / "dataset.json").read_text())["tasks"]
    assert tasks["Part"]["source"] == "Dataset921_Four"
    with pytest.raises(UserError, match=LEAK.format(7)) as raised:
        trainer(alike, 7).get_dataloaders()
    assert str(raised.value).endswith("Train one of the 5 folds that splits_final.json has.")
    with pytest.raises(UserError, match=LEAK.format(7)):  # the stock command
        run_training("930", "3d_fullres", 7, "MultiHeadTrainer", PLANS, device=torch.device("cpu"))
    assert not list((alike / "results").rglob("*.pth"))


@pytest.mark.parametrize(
    ("fold", "remedy"), [(4, "Give both datasets the same folds"), (5, "Train one of the 5 folds")]
)
def test_the_remedy_depends_on_the_number_of_folds(alike, fold, remedy):
    description = json.loads((alike / "raw" / WHOLE / "dataset.json").read_text())
    splits = [Split(WHOLE, description, *cases, 5) for cases in ((["case_000"], []), ([], ["case_000"]))]
    with pytest.raises(UserError, match=LEAK.format(fold) + f".* {remedy}"):
        check_splits(alike / "raw", NAME, fold, splits)


def test_two_datasets_over_the_same_files(alike):
    for dataset in (WHOLE, AGAIN):
        (alike / "preprocessed" / dataset / "splits_final.json").unlink()  # nnU-Net's default, by the order of names
    put(alike, PART, [{"train": [], "val": []}] * 5)
    (validated,) = [case for case in CASES if f"{WHOLE}/{case}, which is trained on as {AGAIN}/" in refused(alike)]
    assert f"as {AGAIN}/again_{4 - int(validated[-1])}" in refused(alike)


@pytest.mark.parametrize("raw_is_there", [True, False])
def test_where_raw_data_are_elsewhere_the_paths_tell(alike, monkeypatch, raw_is_there):
    folds(alike, WHOLE, lambda found: found.reverse())
    if not raw_is_there:
        shutil.rmtree(alike / "raw")
        monkeypatch.delenv("nnUNet_raw")
    assert f"found {WHOLE}/case_004, which is trained on as " in refused(alike)


def test_a_case_in_both_lists_of_one_member(alike):
    folds(alike, WHOLE, lambda found: found[0]["train"].append("case_000"))
    for refuse in (check, lambda root: trainer(root).get_dataloaders()):
        with pytest.raises(UserError, match=rf"{WHOLE}/splits_final.json: fold 0: .* found 'case_000' under both"):
            refuse(alike)


def test_a_run_validates_on_the_folds_that_it_began_with(alike):
    """Another split in the middle of a training neither changes nor refuses its end; --val reads it."""
    run = trainer(alike)
    run.check_leakage()
    folds(alike, WHOLE, lambda found: found.reverse())
    with run.on_task(0):
        assert run.do_split() == (CASES[1:], ["case_000"])
    again = trainer(alike)
    with pytest.raises(UserError, match=LEAK.format(0)):
        again.perform_actual_validation()
