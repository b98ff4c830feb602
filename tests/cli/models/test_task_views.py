"""``nnunet_ext task_views``: views of a model that has none, and mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from nnunet_ext.cli.main import main

WORDS = "task_views -d 900 -p CollectionLitePlans"
MODEL = "results/Dataset900_Shared/UniSegTrainer__CollectionLitePlans__3d_fullres"
VIEW = "results/Dataset904_Pair/UniSegTrainer__CollectionLitePlans_Dataset900_Shared__3d_fullres"


def test_views_of_an_unfinished_training(untrained, capsys):
    for view in (untrained / "results").glob("Dataset90[1-5]_*"):
        shutil.rmtree(view)
    best = (untrained / MODEL / "fold_1" / "checkpoint_final.pth").rename(
        untrained / MODEL / "fold_1" / "checkpoint_best.pth"
    )
    assert main(WORDS.split()) == 0
    *views, cost = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert len(views) == 5
    assert str(cost).startswith("5 task views link to the collection's weights (")
    assert views[3] == untrained / VIEW
    assert (views[3] / "fold_1" / "checkpoint_best.pth").samefile(best)
    assert not (views[3] / "fold_1" / "checkpoint_final.pth").exists()
    assert (views[3] / "fold_0" / "checkpoint_final.pth").exists()
    assert main([*WORDS.split(), "--weights", "own"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("5 task views have copies of the weights")
    assert (views[3] / "fold_1" / "checkpoint_best.pth").read_bytes() == best.read_bytes()
    assert not (views[3] / "fold_1" / "checkpoint_best.pth").samefile(best)


def test_one_fold(untrained):
    shutil.rmtree(untrained / VIEW)
    assert main([*WORDS.split(), "-f", "1"]) == 0
    assert sorted(path.name for path in (untrained / VIEW).glob("fold_*")) == ["fold_1"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (f"{WORDS} -f 7", "fold_7: expected a fold, found none. Trained: 0, 1."),
        (f"{WORDS} -tr UniSegTrainr", "expected a trained model, found none. Trained here (-tr__-p__-c): DoDNet"),
        ("task_views -d 899", "expected dataset '899', found none. Legal: Dataset900_Shared, "),
        (
            "task_views -d 904 -p CollectionLitePlans_Dataset900_Shared",
            "expected a collection's model, found the view of task 'pair'. Give -d 900.",
        ),
    ],
)
def test_mistakes(untrained, mistake, words, text):
    assert text in mistake(words)


def test_an_ordinary_model(untrained, mistake):
    plans = json.loads((untrained / MODEL / "plans.json").read_text())
    del plans["collection"]
    (untrained / MODEL / "plans.json").write_text(json.dumps(plans))
    assert "expected a collection's model, found one of an ordinary dataset. Give another -d." in mistake(WORDS)


def test_a_fold_of_earlier_tasks(untrained, mistake):
    file = untrained / MODEL / "fold_1" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    checkpoint["init_args"]["plans"]["collection"]["tasks"].reverse()
    torch.save(checkpoint, file)
    text = mistake(WORDS)
    assert text.startswith(
        f"{file}: expected a checkpoint of the tasks in the model's plans.json, found one of earlier"
    )
    assert main([*WORDS.split(), "-f", "0"]) == 0
    images = untrained / "raw" / "Dataset901_Organ" / "imagesTs"
    predict = f"predict_tasks -d 900 -p CollectionLitePlans -i {images} -o {untrained / 'out'} -device cpu -f 1"
    assert mistake(predict) == text


def test_planned_again_since(untrained, mistake):
    collection = untrained / "preprocessed" / "Dataset900_Shared" / "CollectionLitePlans.json"
    plans = json.loads(collection.read_text())
    plans["nnunet_ext"] = {"num_epochs": 7}  # knobs may change
    collection.write_text(json.dumps(plans))
    assert main(WORDS.split()) == 0
    task = plans["collection"]["tasks"][1]
    file = untrained / "preprocessed" / task["dataset"] / "CollectionLitePlans_Dataset900_Shared.json"
    member = json.loads(file.read_text())
    member["collection"]["tasks"][1]["preprocessing"] = "with another normalization"
    file.write_text(json.dumps(member))
    assert main(WORDS.split()) == 0  # the views know
    shutil.rmtree(untrained / "results" / task["dataset"])
    assert "was trained with, found others: the collection was planned again since." in mistake(WORDS)
    file.unlink()
    assert f"expected the plans of task {task['name']!r}, found no file" in mistake(WORDS)


def test_a_file_in_place_of_a_view(untrained, mistake):
    shutil.rmtree(untrained / VIEW)
    (untrained / VIEW).write_text("")
    assert "expected to make the folder of a task view, got 'Not a directory'" in mistake(WORDS)


@pytest.mark.parametrize("text", ["[]", "{"])
def test_a_model_whose_plans_are_broken(untrained, mistake, text):
    (untrained / MODEL / "plans.json").write_text(text)
    assert f"{untrained / MODEL / 'plans.json'}: expected " in mistake(WORDS)
