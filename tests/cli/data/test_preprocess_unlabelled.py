"""Unlabelled images on the command line: both commands, and that planning never sees them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnunet_ext.cli.main import main
from nnunet_ext.phantoms.dataset import write_nifti
from nnunet_ext.semi_supervised.preprocessing import check_unlabelled

NAME = "Dataset901_Phantom"
PLAN = "plan_and_preprocess -d 901 -pl LitePlanner --no_pbar"
PREPROCESS = "preprocess_unlabelled -d 901 -p LitePlans --no_pbar -np 1"
CONFIGURATIONS = ("2d", "3d_fullres")


@pytest.fixture
def unlabelled(nnunet: Path) -> Path:
    """The planned phantoms, whose unseen case is unlabelled."""
    (nnunet / "raw" / NAME / "imagesTs").rename(nnunet / "raw" / NAME / "imagesUn")
    return nnunet


def run(words: str) -> None:
    assert main(words.split()) == 0


def plans(root: Path) -> dict:
    return json.loads((root / "preprocessed" / NAME / "LitePlans.json").read_text())


def cases(root: Path, configuration: str = "3d_fullres") -> list[str]:
    return check_unlabelled(root / "preprocessed" / NAME, plans(root), configuration)


def content(root: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_all_configurations_by_default(unlabelled, capsys):
    run(PREPROCESS)
    assert [cases(unlabelled, name) for name in CONFIGURATIONS] == [["unseen_000"], ["unseen_000"]]
    said = [f"{name}: unlabelled images are resampled by nnunet_ext" for name in CONFIGURATIONS]
    assert capsys.readouterr().out.splitlines() == said + [
        f"{unlabelled / 'preprocessed' / NAME / f'LitePlans_{name}_unlabelled'}: 1 unlabelled case"
        for name in CONFIGURATIONS
    ]
    run(f"{PREPROCESS} -c 2d --clean --stock_resampling")
    assert capsys.readouterr().out.startswith("2d: unlabelled images are resampled by nnU-Net, as asked\n")


def test_one_configuration_and_the_name_of_the_data_set(unlabelled):
    run(f"preprocess_unlabelled -d {NAME} -p LitePlans -c 3d_fullres --no_pbar -np 1")
    assert cases(unlabelled) == ["unseen_000"]
    assert not (unlabelled / "preprocessed" / NAME / "LitePlans_2d_unlabelled").exists()


def test_twice_changes_nothing_and_clean_does_it_again(unlabelled):
    run(f"{PREPROCESS} -c 2d")
    data = unlabelled / "preprocessed" / NAME / "LitePlans_2d_unlabelled"
    before = (data / "unseen_000.pkl").stat().st_mtime_ns
    run(f"{PREPROCESS} -c 2d")
    assert (data / "unseen_000.pkl").stat().st_mtime_ns == before
    run(f"{PREPROCESS} -c 2d --clean")
    assert (data / "unseen_000.pkl").stat().st_mtime_ns > before


def test_plans_of_stock_nnunet(unlabelled):
    run("plan_and_preprocess -d 901 --no_pp --no_pbar --no_check -gpu_memory_target 2")
    run("preprocess_unlabelled -d 901 -p nnUNetPlans -c 3d_fullres --no_pbar -np 1")
    stock = json.loads((unlabelled / "preprocessed" / NAME / "nnUNetPlans.json").read_text())
    assert check_unlabelled(unlabelled / "preprocessed" / NAME, stock, "3d_fullres") == ["unseen_000"]


def test_the_second_stage_of_a_cascade(unlabelled, capsys):
    file = unlabelled / "preprocessed" / NAME / "LitePlans.json"
    edited = plans(unlabelled)
    edited["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    file.write_text(json.dumps(edited))
    run(f"{PREPROCESS} -c 3d_cascade_fullres")
    assert capsys.readouterr().out == (
        "3d_cascade_fullres: skipped, the second stage of a cascade takes no unlabelled images\n"
    )
    assert not list(file.parent.glob("*_unlabelled"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("-d 902 -p LitePlans", "expected dataset '902', found none."),
        ("-d 901 -p LitPlans", "expected plans, found no file. Did you mean 'LitePlans'?"),
        ("-d 901 -p LitePlans -c 3d_fulres", "-c 3d_fulres: not in plans 'LitePlans'. Did you mean '3d_fullres'?"),
        ("-d 901 -p LitePlans -np 0", "-np: expected a number from 1 up, got 0."),
    ],
)
def test_wrong_words_stop_before_anything_is_written(unlabelled, mistake, words, text):
    before = content(unlabelled)
    assert text in mistake(f"preprocess_unlabelled --no_pbar {words}")
    assert content(unlabelled) == before


def test_before_planning(unlabelled, mistake):
    shutil.rmtree(unlabelled / "preprocessed" / NAME)
    text = mistake(PREPROCESS)
    assert text.endswith("expected dataset '901', found none. Run nnunet_ext plan_and_preprocess -d 901 first.")
    assert list((unlabelled / "preprocessed").iterdir()) == []


def test_no_unlabelled_images(nnunet, mistake):
    before = content(nnunet)
    text = mistake(PREPROCESS)
    assert text.startswith(f"{nnunet / 'raw' / NAME / 'imagesUn'}: expected unlabelled images named CASE_0000.nii.gz, ")
    assert content(nnunet) == before


def test_planning_preprocesses_them_too(unlabelled):
    run(f"{PLAN} -c 2d 3d_fullres -np 1")
    assert [cases(unlabelled, name) for name in CONFIGURATIONS] == [["unseen_000"], ["unseen_000"]]


def test_planning_leaves_their_resampling_to_nnunet_too(unlabelled, capsys):
    run(f"{PLAN} -c 2d -np 1 --stock_resampling")
    said = capsys.readouterr().out
    assert "2d: images and labels are resampled by nnU-Net, as asked\n" in said
    assert "2d: unlabelled images are resampled by nnU-Net, as asked\n" in said
    assert "by nnunet_ext" not in said


def test_planning_does_only_what_is_missing_of_them(unlabelled):
    run(f"{PLAN} -c 2d -np 1")
    file = unlabelled / "preprocessed" / NAME / "LitePlans_2d_unlabelled" / "unseen_000.pkl"
    before = file.stat().st_mtime_ns
    run(f"{PLAN} -c 2d -np 1")
    assert file.stat().st_mtime_ns == before
    run(f"{PLAN} -c 2d -np 1 --clean")
    assert file.stat().st_mtime_ns > before


def test_planning_and_training_never_see_them(unlabelled):
    before = plans(unlabelled)
    fingerprint = unlabelled / "preprocessed" / NAME / "dataset_fingerprint.json"
    of_labelled = json.loads(fingerprint.read_text())
    run(f"{PLAN} -c 3d_fullres -np 1 --clean")
    folder = unlabelled / "preprocessed" / NAME
    labelled = ["case_000", "case_001", "case_002"]
    assert json.loads(fingerprint.read_text()) == of_labelled
    assert plans(unlabelled) == before
    assert sorted(file.stem for file in (folder / "LitePlans_3d_fullres").glob("*.pkl")) == labelled
    assert sorted(file.name for file in (folder / "gt_segmentations").iterdir()) == [f"{n}.nii.gz" for n in labelled]
    assert trained_or_validated(folder) == labelled


def trained_or_validated(folder: Path) -> list[str]:
    """The cases that stock folds train on and validate."""
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    data = str(folder / "LitePlans_3d_fullres")
    splits = generate_crossval_split(sorted(infer_dataset_class(data)(data).identifiers), n_splits=3)
    return sorted({name for split in splits for part in ("train", "val") for name in split[part]})


def test_no_preprocessing(unlabelled):
    run(f"{PLAN} --no_pp")
    assert not list((unlabelled / "preprocessed" / NAME).glob("*_unlabelled*"))


def blank(folder: Path) -> str:
    write_nifti(folder / "imagesUn" / "unseen_000_0000.nii.gz", np.zeros((12, 32, 32), np.float32), (2.5, 1.0, 1.0))
    return "expected an image of case 'unseen_000', found it empty"


def labelled_too(folder: Path) -> str:
    (folder / "imagesUn" / "unseen_000_0000.nii.gz").rename(folder / "imagesUn" / "case_002_0000.nii.gz")
    return "expected case 'case_002' to be labelled or unlabelled, found it both"


def emptied(folder: Path) -> str:
    shutil.rmtree(folder / "imagesUn")
    (folder / "imagesUn").mkdir()
    return "expected images named CASE_0000.nii.gz, found none"


@pytest.mark.parametrize("spoil", [blank, labelled_too, emptied])
@pytest.mark.parametrize("words", [f"{PLAN} --no_pp", PREPROCESS])
def test_wrong_images_stop_before_anything_is_written(
    unlabelled: Path, mistake: Callable[[str], str], spoil: Callable[[Path], str], words: str
) -> None:
    text = spoil(unlabelled / "raw" / NAME)
    before = content(unlabelled)
    assert text in mistake(words)
    assert content(unlabelled) == before


def test_unread_images_on_wish(unlabelled):
    blank(unlabelled / "raw" / NAME)
    run(f"{PLAN} --no_pp --no_check")


COLLECTION, COLLECTION_PLANS = "Dataset900_Mixed", "CollectionLitePlans"


def cases_of_members(root: Path) -> dict[str, list[str]]:
    """The preprocessed unlabelled cases of each member that has any."""
    found = {}
    for file in sorted((root / "preprocessed").glob(f"*/{COLLECTION_PLANS}_{COLLECTION}.json")):
        if list(file.parent.glob("*_unlabelled")):
            found[file.parent.name] = check_unlabelled(file.parent, json.loads(file.read_text()), "3d_fullres")
    return found


def test_planning_a_collection_preprocesses_its_members_images(unlabelled_members):
    assert cases_of_members(unlabelled_members) == {
        "Dataset901_Organ": ["unlabelled_000", "unlabelled_001"],
        "Dataset903_Slab": ["unlabelled_000"],
        "Dataset904_Pair": ["unlabelled_000"],
    }
    (place,) = (unlabelled_members / "preprocessed" / "Dataset901_Organ").glob("*_unlabelled")
    assert place.name == f"{COLLECTION_PLANS}_{COLLECTION}_3d_fullres_unlabelled"


def test_a_collections_members_by_one_command(unlabelled_members, capsys):
    expected, gone = cases_of_members(unlabelled_members), unlabelled_members / "preprocessed" / "Dataset901_Organ"
    (place,) = gone.glob("*_unlabelled")
    shutil.rmtree(place)
    capsys.readouterr()
    run(f"preprocess_unlabelled -d 900 -p {COLLECTION_PLANS} --no_pbar -np 1")
    assert cases_of_members(unlabelled_members) == expected
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("member ")] == [
        "member 1/4 Dataset901_Organ: 2 unlabelled cases",
        "member 3/4 Dataset903_Slab: 1 unlabelled case",
        "member 4/4 Dataset904_Pair: 1 unlabelled case",
    ]


def test_a_collection_without_unlabelled_images(unlabelled_members, mistake):
    for place in unlabelled_members.glob("*/*/imagesUn"):
        shutil.rmtree(place)
    text = mistake(f"preprocess_unlabelled -d 900 -p {COLLECTION_PLANS} --no_pbar")
    assert text.startswith(f"{COLLECTION}: expected a member with unlabelled images (imagesUn), found none.")


def test_a_collection_has_one_configuration(unlabelled_members, mistake):
    text = mistake(f"preprocess_unlabelled -d 900 -p {COLLECTION_PLANS} -c 2d --no_pbar")
    assert text.startswith("-c 2d: not in plans 'CollectionLitePlans'.")


def test_planning_a_collection_checks_its_members_images(unlabelled_members, mistake):
    labelled = unlabelled_members / "raw" / "Dataset903_Slab" / "imagesTr" / "case_000_0000.nii.gz"
    shutil.copy(labelled, unlabelled_members / "raw" / "Dataset903_Slab" / "imagesUn" / labelled.name)
    text = mistake("plan_and_preprocess -d 900 -pl CollectionLitePlanner --no_pbar")
    assert "expected case 'case_000' to be labelled or unlabelled, found it both" in text
