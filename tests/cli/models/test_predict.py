"""``nnunet_ext predict``: mistakes get one line before nnU-Net starts; the rest goes to the stock entry point."""

import json
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from nnunet_ext import sockets
from nnunet_ext.cli.main import main
from nnunet_ext.cli.models.predict import Predict, folds
from nnunet_ext.collection.task_table import Task, TaskTable

MODEL = "results/Dataset901_Phantom/BANetTrainer__LitePlans__3d_fullres"


@pytest.fixture
def model(nnunet: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder with a checkpoint of fold 1; the door that ``predict`` opens is closed again afterwards."""
    monkeypatch.setenv(sockets.VARIABLE, "")
    folder = nnunet / MODEL
    (folder / "fold_1").mkdir(parents=True)
    shutil.copy(nnunet / "raw/Dataset901_Phantom/dataset.json", folder)
    (folder / "plans.json").write_text(json.dumps({"plans_name": "LitePlans", "image_reader_writer": "SimpleITKIO"}))
    torch.save({"network_weights": {"weight": torch.arange(9000.0)}}, folder / "fold_1" / "checkpoint_final.pth")
    return folder


def words(root: Path, **changes: str) -> list[str]:
    options = {
        "i": str(root / "raw/Dataset901_Phantom/imagesTs"),
        "o": str(root / "out"),
        "d": "901",
        "c": "3d_fullres",
    }
    options |= {"tr": "BANetTrainer", "p": "LitePlans", "f": "1", "device": "cpu"} | changes
    return ["predict", *(word for name, value in options.items() for word in (f"-{name}", value))]


def test_the_model_of_a_collection(nnunet, model, mistake):
    table = TaskTable("Dataset901_Phantom", (Task("liver", "Dataset003_Liver", 1, 2, 9),))
    (model / "plans.json").write_text(json.dumps({"plans_name": "LitePlans", "collection": table.as_json()}))
    text = "expected the model of one dataset, found that of a collection. Predict with a task's view: -d 3 -p Lite"
    assert text in mistake(" ".join(words(nnunet)))


def test_images_are_checked_with_the_reader_that_predicts(nnunet, model, mistake):
    """Not with the one that nnU-Net would choose for the first image."""
    file = nnunet / "raw/Dataset901_Phantom/imagesTs/unseen_000_0000.nii.gz"
    affine = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(np.asarray(nibabel.load(file).dataobj), affine)
    image.set_sform(affine, 1)
    image.header["qform_code"] = 0
    nibabel.save(image, file)
    text = mistake([*words(nnunet), "--disable_progress_bar"])
    assert text.startswith(f"{file}: expected axes perpendicular to each other, which nnU-Net's SimpleITKIO needs")
    (model / "plans.json").write_text(json.dumps({"plans_name": "LitePlans", "image_reader_writer": "NibabelIO"}))
    Predict.parse(words(nnunet)[1:])._check()


def test_missing_words(nnunet, mistake):
    expected = "expected -i IMAGES -o OUTPUT -d DATASET -c CONFIGURATION, found no -o, -c. Example: nnunet_ext predict"
    assert mistake("predict -i a -d 901").startswith(expected)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tr": "BANettrainer"}, "-tr: unknown trainer 'BANettrainer'. Did you mean 'BANetTrainer'?"),
        ({"d": "902"}, "expected dataset '902', found none. Legal: Dataset901_Phantom."),
        (
            {"p": "B"},
            "BANetTrainer__B__3d_fullres: expected a trained model, found none. Trained here (-tr__-p__-c): BANetT",
        ),
        ({"f": "0"}, "fold_0/checkpoint_final.pth: expected the checkpoint of fold 0, found no file. Trained: -f 1."),
        (
            {"chk": "checkpoint_best.pth"},
            "checkpoint of fold 1, found no file. Finish a training, or choose with -chk.",
        ),
        ({"i": "/nowhere"}, "/nowhere: expected a folder of images, found none."),
    ],
)
def test_wrong_words(nnunet, model, mistake, changes, text):
    assert text in mistake([*words(nnunet, **changes), "--disable_progress_bar"])


def test_no_gpu(nnunet, model, mistake, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    text = mistake(words(nnunet, device="cuda"))
    assert text == "-device cuda: expected a GPU, torch finds none. Add -device cpu, or see nnunet_ext doctor."


def test_an_empty_folder(nnunet, model, mistake):
    (nnunet / "empty").mkdir()
    text = mistake(words(nnunet, i=str(nnunet / "empty")))
    assert text.startswith(f"{nnunet / 'empty'}: expected images named CASE_0000.nii.gz, found none.")


def test_a_file_in_place_of_the_output(nnunet, model, mistake):
    (nnunet / "out").write_text("")
    assert mistake(words(nnunet)).startswith(f"-o {nnunet / 'out'}: expected a folder that can be written, got ")


def test_a_truncated_checkpoint(nnunet, model, mistake):
    file = model / "fold_1" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[:-300])
    assert mistake(words(nnunet)).startswith(f"{file}: expected an intact checkpoint, but it cannot be read (")


def test_a_truncated_image(nnunet, model, mistake, monkeypatch):
    file = nnunet / "raw/Dataset901_Phantom/imagesTs/unseen_000_0000.nii.gz"
    file.write_bytes(file.read_bytes()[:-300])
    text = mistake([*words(nnunet), "--disable_progress_bar"])
    assert text.startswith(f"{file}: expected an intact image, but it is corrupt")


def test_all_words_but_our_own_reach_nnunet(nnunet, model, monkeypatch):
    seen = []
    monkeypatch.setattr("nnunetv2.inference.predict_from_raw_data.predict_entry_point", lambda: seen.append(sys.argv))
    file = nnunet / "raw/Dataset901_Phantom/imagesTs/unseen_000_0000.nii.gz"
    file.write_bytes(b"")
    assert main([*words(nnunet), "--no_check", "--save_probabilities"]) == 0
    assert seen == [["nnUNetv2_predict", *words(nnunet)[1:], "--save_probabilities"]]


def test_folds():
    assert folds(["-i", "a"]) == ["0", "1", "2", "3", "4"]
    assert folds(["-f", "2", "all", "-i", "a"]) == ["2", "all"]
