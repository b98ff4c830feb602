"""``nnunet_ext train``: mistakes get one line before nnU-Net starts; the rest goes to the stock entry point."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from foreign_trainers import OWN, open_door, write_broken, write_namesake
from preprocessed_folder import write_preprocessed

from nnunet_ext import sockets
from nnunet_ext.cli.main import main
from nnunet_ext.cli.models.train import Train, _check_pretrained
from nnunet_ext.errors import UserError
from nnunet_ext.methods.mean_teacher.trainer import MeanTeacherTrainer

PLANS = Path("preprocessed/Dataset901_Phantom/LitePlans.json")
WORDS = "901 3d_fullres 0 -tr NNUNetBaselineTrainer -p LitePlans -device cpu"


@pytest.fixture
def preprocessed(nnunet: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Preprocessed data, next to nothing; the door that ``train`` opens is closed again afterwards."""
    monkeypatch.setenv(sockets.VARIABLE, "")
    write_preprocessed(nnunet / PLANS.parent, "LitePlans_3d_fullres", ["case_000", "case_001", "case_002"])
    return nnunet


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", "expected DATASET CONFIGURATION FOLD first, got ''. Example: nnunet_ext train 4 3d_fullres 0"),
        ("901 -tr X", "expected DATASET CONFIGURATION FOLD first, got '901 -tr X'."),
        ("902 3d_fullres 0 -p LitePlans", "expected dataset '902', found none. Legal: Dataset901_Phantom."),
        ("901 3d_fullres 0 -p LitPlans", "expected plans, found no file. Did you mean 'LitePlans'? Legal: LitePlans."),
        ("901 3d_fullres 0 -p LitePlans -tr BANet", "-tr: unknown trainer 'BANet'. Did you mean 'BANetTrainer'?"),
        (
            "901 3d_fulres 0 -p LitePlans",
            "plans 'LitePlans': unknown configuration '3d_fulres'. Did you mean '3d_fullres'?",
        ),
        ("901 3d_fullres O -p LitePlans", "fold: expected folds 0, 1, 2, ... or all, got 'O'."),
        ("901 3d_fullres ² -p LitePlans", "fold: expected folds 0, 1, 2, ... or all, got '²'."),
        (
            "901 2d 0 -p LitePlans -device cpu",
            "LitePlans_2d: expected preprocessed data of plans 'LitePlans', found none: they were never preprocessed. "
            "Run nnunet_ext preprocess -d 901 -p LitePlans -c 2d",
        ),
    ],
)
def test_wrong_words(preprocessed, mistake, words, text):
    assert text in mistake(f"train {words}")
    assert list((preprocessed / "results").iterdir()) == []


def test_folds_that_do_not_fit_the_preprocessed_cases(preprocessed, mistake):
    file = preprocessed / PLANS.parent / "splits_final.json"
    file.write_text('[{"train": ["case_000", "case_001"], "val": ["gone"]}]')
    assert mistake(f"train {WORDS}").startswith(f"{file}: fold 0: expected preprocessed cases, found 'gone', which is ")
    file.unlink()
    assert mistake(f"train {WORDS}").startswith(f"{file}: expected folds, or at least 5 preprocessed cases for nnU-Net")
    assert list((preprocessed / "results").iterdir()) == []


def test_no_gpu(preprocessed, mistake, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    text = mistake("train 901 3d_fullres 0 -p LitePlans")
    assert text == "-device cuda: expected a GPU, torch finds none. Add -device cpu, or see nnunet_ext doctor."


@pytest.mark.parametrize(
    ("trainer", "wrote", "text"),
    [
        (
            "BANetTrainer",
            "nnUNetTrainer",
            "expected a checkpoint of BANetTrainer, found one of nnUNetTrainer. Set the knob init_from to this file",
        ),
        ("BANetTrainer", None, "expected an intact checkpoint, but it cannot be read"),
    ],
)
def test_pretrained_weights_that_nnunet_would_break_on(preprocessed, mistake, tmp_path, trainer, wrote, text):
    file = tmp_path / "checkpoint.pth"
    if wrote is not None:
        torch.save({"network_weights": {}, "trainer_name": wrote}, file)
    words = WORDS.replace("NNUNetBaselineTrainer", trainer)
    assert text in mistake(f"train {words} -pretrained_weights {file}")
    assert list((preprocessed / "results").iterdir()) == []


def test_stock_weights_for_a_stock_network_are_nnunets_business(tmp_path):
    torch.save({"network_weights": {}, "trainer_name": "nnUNetTrainer"}, tmp_path / "checkpoint.pth")
    _check_pretrained("NNUNetBaselineTrainer", str(tmp_path / "checkpoint.pth"))
    _check_pretrained("nnUNetTrainerDA5", str(tmp_path / "checkpoint.pth"))


def test_unlabelled_images_that_are_not_preprocessed(half_labelled):
    planned = Path(half_labelled(MeanTeacherTrainer).preprocessed_dataset_folder_base)
    words = ["700", "3d_fullres", "0", "-tr", "MeanTeacherTrainer", "-p", "LitePlans", "-device", "cpu"]
    Train(words).check()
    (planned / "LitePlans_3d_fullres_unlabelled.complete.json").unlink()
    with pytest.raises(UserError, match=r"Run nnunet_ext preprocess_unlabelled -d 700 -p LitePlans -c 3d_fullres$"):
        Train(words).check()
    Train([*words, "--val"]).check()
    words[4] = "NNUNetBaselineTrainer"
    Train(words).check()


def test_unlabelled_images_that_came_or_went_since(half_labelled, monkeypatch):
    planned = Path(half_labelled(MeanTeacherTrainer).preprocessed_dataset_folder_base)
    raw = planned.parents[1] / "raw" / planned.name
    words = ["700", "3d_fullres", "0", "-tr", "MeanTeacherTrainer", "-p", "LitePlans", "-device", "cpu"]

    def problem() -> str:
        with pytest.raises(UserError) as caught:
            Train(words).check()
        return str(caught.value)

    image = raw / "imagesUn" / "unlabelled_001_0000.nii.gz"
    place = planned / "LitePlans_3d_fullres_unlabelled"
    image.rename(image.with_name("newcomer_0000.nii.gz"))
    assert problem() == (
        f"{place}: expected preprocessed unlabelled images of plans 'LitePlans', found them without case 'newcomer', "
        f"unlike {raw} (and 1 more case). Run nnunet_ext preprocess_unlabelled -d 700 -p LitePlans -c 3d_fullres"
    )
    image.with_name("newcomer_0000.nii.gz").unlink()
    assert f"found them with case 'unlabelled_001', unlike {raw}. Run nnunet_ext preprocess_unlabelled" in problem()
    for file in (raw / "imagesUn").iterdir():
        file.unlink()
    Train(words).check()
    (raw / "imagesUn").rmdir()
    Train(words).check()
    raw.rename(raw.with_name("elsewhere"))
    Train(words).check()
    monkeypatch.delenv("nnUNet_raw")
    Train(words).check()


def test_a_file_in_place_of_the_results_folder(preprocessed, mistake):
    (preprocessed / "results").rmdir()
    (preprocessed / "results").write_text("")
    text = mistake(f"train {WORDS}")
    assert text.startswith(f"nnUNet_results={preprocessed / 'results'}: expected a folder that can be written, got ")


def test_a_file_in_place_of_the_fold(preprocessed, mistake):
    model = preprocessed / "results/Dataset901_Phantom/NNUNetBaselineTrainer__LitePlans__3d_fullres"
    model.mkdir(parents=True)
    (model / "fold_0").write_text("")
    text = mistake(f"train {WORDS}")
    assert text.startswith(f"{model / 'fold_0'}: expected a results folder that can be written, got 'File exists'.")


def test_a_patch_that_stock_cannot_augment(preprocessed, mistake):
    file = preprocessed / PLANS
    plans = json.loads(file.read_text())
    plans["configurations"]["3d_fullres"]["patch_size"] = [3, 64, 64]
    file.write_text(json.dumps(plans))
    assert "expected a patch of at least 4 voxels along each axis, got [3, 64, 64]" in mistake(f"train {WORDS}")


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"format": 2}, "plans 'LitePlans': the block 'nnunet_ext' has format 2, this nnunet_ext reads up to 1"),
        ({"num_epoch": 2}, "plans 'LitePlans': unknown knob 'num_epoch'. Did you mean 'num_epochs'?"),
        ({"ba_net": {"width": 2}}, "plans 'LitePlans': unknown knob 'ba_net.width'. Did you mean 'boundary_width'?"),
    ],
)
def test_illegal_knobs_stop_the_training(preprocessed, mistake, block, text):
    plans = json.loads((preprocessed / PLANS).read_text()) | {"nnunet_ext": block}
    (preprocessed / PLANS).write_text(json.dumps(plans))
    assert mistake(f"train {WORDS}").startswith(text)
    assert list((preprocessed / "results").iterdir()) == []


def test_all_words_reach_nnunet_and_the_door_is_open(preprocessed, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "nnunetv2.run.run_training.run_training_entry", lambda: seen.append((sys.argv, os.environ[sockets.VARIABLE]))
    )
    before = sys.argv
    assert main(["train", *WORDS.split(), "--c", "--npz"]) == 0
    assert seen == [(["nnUNetv2_train", *WORDS.split(), "--c", "--npz"], str(sockets.folder("trainers")))]
    assert sys.argv is before


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("write", [write_namesake, write_broken])
@pytest.mark.parametrize("name", ["CoTrTrainer", "BANetTrainer"])
def test_beside_another_package_ours_are_trained(preprocessed, monkeypatch, tmp_path, write, ours_first, name):
    found = []

    def train() -> None:
        from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

        found.append(recursive_find_trainer_class_by_name(name))

    foreign = write(tmp_path / "foreign")
    open_door(monkeypatch, *((OWN, foreign) if ours_first else (foreign, OWN)))
    monkeypatch.setattr("nnunetv2.run.run_training.run_training_entry", train)
    assert main(["train", *WORDS.replace("NNUNetBaselineTrainer", name).split()]) == 0
    assert found == [sockets.load("trainers", name)]


def test_a_trainer_of_another_package_with_a_broken_module(preprocessed, mistake, monkeypatch, tmp_path):
    open_door(monkeypatch, write_broken(tmp_path / "foreign"))
    text = mistake(f"train {WORDS.replace('NNUNetBaselineTrainer', 'GoodTrainer')}")
    assert text.startswith("-tr GoodTrainer: expected nnU-Net to find it, got ImportError: cannot import name 'no_suc")
    assert text.endswith(". See nnunet_ext doctor.")


# collections

PAIR = "900 3d_fullres 0 -p CollectionLitePlans -device cpu -tr UniSegTrainer"


@pytest.fixture
def started(pair, monkeypatch) -> list[list[str]]:
    """What reaches nnU-Net."""
    words: list[list[str]] = []
    monkeypatch.setenv(sockets.VARIABLE, "")
    monkeypatch.setattr("nnunetv2.run.run_training.run_training_entry", lambda: words.append(sys.argv[1:]))
    return words


def test_a_collection_needs_its_members_data_and_none_of_its_own(started):
    assert main(["train", *PAIR.split()]) == 0
    assert started == [PAIR.split()]


def test_a_trainer_of_one_data_set_on_a_collection(started, mistake):
    assert mistake(f"train {PAIR.replace('UniSegTrainer', 'nnUNetTrainer')}") == (
        "-tr nnUNetTrainer: expected a trainer of collections, because Dataset900_Pair is one. Take "
        "DoDNetTrainer, MultiHeadTrainer, TransDoDNetTrainer, UniSegTrainer, VerSemiTrainer, or train a member alone."
    )
    assert started == []


def test_a_member_can_be_trained_alone(started):
    words = ["901", "3d_fullres", "0", "-p", "CollectionLitePlans_Dataset900_Pair", "-device", "cpu"]
    assert main(["train", *words]) == 0
    assert started == [words]


@pytest.mark.parametrize("words", ["900 2d 0 -p CollectionLitePlans", "901 3d_cascade_fullres 0 -p {}_Dataset900_Pair"])
def test_a_collection_has_one_configuration(started, mistake, words):
    words = words.format("CollectionLitePlans")
    assert mistake(f"train {words} -device cpu") == (
        f"configuration {words.split()[1]!r}: a collection has the one configuration 3d_fullres, because its members "
        f"share one 3d network (2d needs another, and the second stage of a cascade takes the labels of one member as "
        f"input). Train 3d_fullres."
    )
    assert started == []


def test_a_member_that_was_deleted(pair, started, mistake):
    place = pair / "preprocessed/Dataset902_Lesion/CollectionLitePlans_Dataset900_Pair_3d_fullres"
    place.rename(pair / "elsewhere")
    assert mistake(f"train {PAIR}") == (
        f"{place}: expected preprocessed data of plans 'CollectionLitePlans_Dataset900_Pair', found them deleted. Run "
        f"nnunet_ext plan_and_preprocess -d 900 -pl CollectionLitePlanner"
    )
    assert started == []


def test_folds_of_a_member_that_do_not_fit_its_cases(pair, started, mistake):
    file = pair / "preprocessed/Dataset902_Lesion/splits_final.json"
    file.write_text('[{"train": ["case_000"], "val": ["case_001"]}]')
    assert mistake(f"train {PAIR}").startswith(f"{file}: expected every preprocessed case in a fold, found 'case_002' ")
    assert started == []


def test_a_member_without_plans(pair, started, mistake):
    (pair / "preprocessed/Dataset902_Lesion/CollectionLitePlans_Dataset900_Pair.json").unlink()
    assert "CollectionLitePlans_Dataset900_Pair.json: expected plans, found no file." in mistake(f"train {PAIR}")
    assert started == []
