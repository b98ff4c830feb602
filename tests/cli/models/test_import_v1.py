"""``nnunet_ext import_v1``: the models it writes, what it says, and its mistakes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from v1_model import FINAL, unet_logits, unet_weights, uniseg_weights, v1_plans, write_pickle, write_v1

from nnunet_ext.cli.main import main
from nnunet_ext.prediction.trained_model import TrainedModel

TASKS = [
    {"name": "liver", "labels": ["background", "liver", "tumour"], "channels": ["CT"], "spacing": [3, 1.5, 1.5]},
    {"name": "brain", "labels": ["background", "tumour"], "channels": ["T1", "T2"], "spacing": [1, 1, 1], "mask": True},
    {"name": "lung", "labels": ["background", "lung"], "channels": ["CT"], "spacing": [8, 4, 4], "window": [-900, 100]},
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with empty nnUNet_raw and so on, and a v1 model in ``v1``."""
    for variable, part in (("raw", "raw"), ("preprocessed", "preprocessed"), ("results", "results")):
        (tmp_path / part).mkdir()
        monkeypatch.setenv(f"nnUNet_{variable}", str(tmp_path / part))
    monkeypatch.setenv("nnUNet_extTrainer", "")
    write_v1(tmp_path / "v1", unet_weights(), v1_plans())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def uniseg(root: Path) -> Path:
    """The same with a UniSeg checkpoint without plans, and a file that describes its tasks."""
    write_v1(root / "uniseg", uniseg_weights(), None)
    (root / "tasks.json").write_text(json.dumps(TASKS))
    return root


def run(words: str) -> int:
    return main(words.split())


def content(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_plain_model_has_v1s_logits_and_preprocessing(root, capsys):
    """v1's decoder has 3x3x3 kernels where the encoder has 1x3x3; with zeros around the latter, v2's has both."""
    plans = v1_plans(transpose_forward=[1, 0, 2], transpose_backward=[1, 0, 2])
    write_v1(root / "v1", unet_weights(), plans, ("0", "3"))
    assert run("import_v1 --method nnunet v1 -d 60 -n Kidney --labels background kidney tumour") == 0
    model = root / "results" / "Dataset060_Kidney" / "nnUNetTrainer__V1Plans__3d_fullres"
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        f"spacing | 3 x 1.5 x 1.25 mm | {root}/v1/plans.pkl, stage 0",
        "patch | 4 x 16 x 16 |",
        "normalization | CT clipped to [-100, 300], then (x - 80) / 50 | the v1 plans",
        "classes | background, kidney, tumour | --labels",
        "channels | CT | the v1 plans",
        "axes | 1 0 2 |",
        "folds | 0 3 |",
        "mirroring | 0 1 2 | v1's default",
        f"{model} written.",
    ):
        assert words in said
    loaded = TrainedModel.load(model, checkpoint="checkpoint_final.pth")
    assert len(loaded.parameters) == 2
    x = torch.randn(1, 1, 4, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded.network.eval()(x), unet_logits(unet_weights(), x), rtol=0, atol=1e-5)
    made = json.loads((model / "plans.json").read_text())
    planned = made["configurations"]["3d_fullres"]
    assert (planned["spacing"], planned["batch_size"]) == ([3.0, 1.5, 1.25], 3)
    assert planned["normalization_schemes"] == ["CTNormalization"]
    assert made["transpose_forward"] == made["transpose_backward"] == [1, 0, 2]
    assert made["foreground_intensity_properties_per_channel"]["0"] == {
        "mean": 80.0,
        "median": 70.0,
        "std": 50.0,
        "min": -900.0,
        "max": 900.0,
        "percentile_00_5": -100.0,
        "percentile_99_5": 300.0,
    }
    description = json.loads((model / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "kidney": 1, "tumour": 2}
    assert (description["channel_names"], description["numTraining"]) == ({"0": "CT"}, 2)
    assert json.loads((model / "dataset_fingerprint.json").read_text())["spacings"] == [[3.0, 1.5, 1.25]]
    checkpoint = torch.load(model / "fold_3" / "checkpoint_final.pth", weights_only=False)
    assert (checkpoint["init_args"]["fold"], checkpoint["current_epoch"]) == (3, 1000)
    assert checkpoint["inference_allowed_mirroring_axes"] == (0, 1, 2)


def test_2d(root):
    """v1's spacing of 2d plans also has that of the slices."""
    kernels, pools = [[3, 3]] * 3, [[2, 2]] * 2
    weights = unet_weights(kernels, pools, channels=2)
    write_v1(root / "v1", weights, v1_plans((16, 16), kernels=kernels, pools=pools, schemes=("MR", "noNorm")))
    assert run("import_v1 --method nnunet v1 -o model --channels T1 ADC") == 0
    loaded = TrainedModel.load(root / "model")
    assert loaded.configuration_name == "2d"
    assert loaded.configuration.spacing == [1.5, 1.25]
    assert loaded.configuration.normalization_schemes == ["ZScoreNormalization", "NoNormalization"]
    assert loaded.dataset_json["channel_names"] == {"0": "T1", "1": "ADC"}
    assert loaded.dataset_json["labels"] == {"background": 0, "class_1": 1, "class_2": 2}
    x = torch.randn(1, 2, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded.network.eval()(x), unet_logits(weights, x, pools), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("stored", "words", "axes"),
    [
        ({}, "", (0, 1, 2)),
        ({}, "--mirror_axes 2 1", (1, 2)),
        ({}, "--mirror_axes", None),
        ({"data_aug_params": {"do_mirror": True, "mirror_axes": (0, 1)}}, "", (0, 1)),
        ({"data_aug_params": {"do_mirror": False, "mirror_axes": (0, 1)}}, "", None),
        ({"data_aug_params": {"do_mirror": False}}, "--mirror_axes 0", (0,)),
        ({"name": "nnUNetTrainerV2_noMirroring"}, "", None),
    ],
)
def test_mirroring(root, stored, words, axes):
    write_v1(root / "v1", unet_weights(), v1_plans(), **stored)
    assert run(f"import_v1 v1 --method nnunet -o model {words}") == 0
    checkpoint = torch.load(root / "model" / "fold_0" / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["inference_allowed_mirroring_axes"] == axes


def test_regions_of_a_dataset_json(root):
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    given = {"labels": labels, "regions_class_order": [1, 2, 3], "file_ending": ".nrrd", "channel_names": {"0": "CTA"}}
    (root / "dataset.json").write_text(json.dumps(given))
    assert run("import_v1 --method nnunet v1 -o model --dataset_json dataset.json") == 0
    loaded = TrainedModel.load(root / "model")
    assert loaded.label_manager.has_regions
    assert (loaded.file_ending, loaded.dataset_json["channel_names"]) == (".nrrd", {"0": "CTA"})


def test_the_stage_is_that_of_the_trainer_else_of_the_folder_else_the_last(root):
    plans = v1_plans()
    low = plans["plans_per_stage"][0] | {"current_spacing": np.array([6.0, 3.0, 2.5])}
    plans["plans_per_stage"] = {0: low, 1: plans["plans_per_stage"][0]}
    file = write_v1(root / "two", unet_weights(), plans)
    assert run("import_v1 --method nnunet two -o last") == 0
    assert TrainedModel.load(root / "last").configuration_name == "3d_fullres"
    write_v1(root / "3d_lowres", unet_weights(), plans)
    assert run("import_v1 --method nnunet 3d_lowres -o named") == 0
    trained = {"init": ("plans.pkl", 0, "out", "data", True, 0, True, False, True), "plans": plans, "name": "Mine"}
    write_pickle(file.with_name(f"{FINAL}.pkl"), trained)
    (root / "two" / "plans.pkl").unlink()
    assert run("import_v1 --method nnunet two -o stored") == 0
    for name in ("named", "stored"):
        loaded = TrainedModel.load(root / name)
        assert loaded.configuration_name == "3d_lowres"
        assert loaded.configuration.spacing == [6.0, 3.0, 2.5]
        assert loaded.configuration.batch_dice is (name == "stored")


def test_tasks_of_uniseg(uniseg, capsys):
    """Views of the chosen tasks for nnU-Net's commands, the collection's model for predict_tasks and task_views."""
    words = "import_v1 --method uniseg uniseg -d 900 -n Mine --tasks tasks.json --task 0 lung"
    assert run(words) == 0
    assert sorted(path.name for path in (uniseg / "results").iterdir()) == [
        "Dataset900_Mine",
        "Dataset901_liver",
        "Dataset903_lung",
    ]
    said = capsys.readouterr().out
    assert "Dataset901_liver; 3 x 1.5 x 1.5 mm; CT clipped to [-325, 325], then (x + 325) / 650; classes" in said
    assert "4 x 16 x 16 | the prompt's size" in " ".join(said.split())
    assert "brain" not in said
    view = uniseg / "results" / "Dataset903_lung" / "UniSegTrainer__V1Plans_Dataset900_Mine__3d_fullres"
    loaded = TrainedModel.load(view)
    assert loaded.configuration.spacing == [8.0, 4.0, 4.0]
    known = loaded.plans_manager.foreground_intensity_properties_per_channel["0"]
    assert known == {"percentile_00_5": -900.0, "percentile_99_5": 100.0, "mean": -900.0, "std": 1000.0}
    x = torch.randn(1, 1, 4, 16, 16)
    with torch.no_grad():
        lung = loaded.network.eval()(x)
        liver = TrainedModel.load(uniseg / "results" / "Dataset901_liver" / view.name).network.eval()(x)
    assert (lung.shape[1], liver.shape[1]) == (2, 3)
    assert (lung - liver[:, :2]).abs().max() > 1e-3

    (uniseg / "images").mkdir()
    image = nibabel.Nifti1Image(np.random.default_rng(0).normal(0, 300, (16, 16, 8)).astype(np.float32), np.eye(4))
    nibabel.save(image, uniseg / "images" / "case_0000.nii.gz")
    model = "-d 900 -tr UniSegTrainer -p V1Plans -c 3d_fullres -f 0"
    predicted = "-i images -o out --tasks liver lung -device cpu -npp 0 -nps 0 --disable_tta --disable_progress_bar"
    assert run(f"predict_tasks {model} {predicted}") == 0
    assert sorted(file.name for file in (uniseg / "out").glob("*/*.nii.gz")) == ["case.nii.gz"] * 2
    shutil.rmtree(uniseg / "results" / "Dataset901_liver")
    assert run("task_views -d 900 -tr UniSegTrainer -p V1Plans -f 0") == 0
    brain = uniseg / "results" / "Dataset902_brain" / view.name
    loaded = TrainedModel.load(brain)
    assert loaded.configuration.use_mask_for_norm == [True, True]
    assert loaded.configuration.normalization_schemes == ["ZScoreNormalization"] * 2


def test_uniseg_in_a_folder_of_its_own_and_logits_that_no_task_has(uniseg):
    one_channel = [task | {"labels": ["background", "x"], "channels": ["CT"]} for task in TASKS]
    (uniseg / "tasks.json").write_text(json.dumps(one_channel))
    assert run("import_v1 --method uniseg uniseg -o models --tasks tasks.json") == 0
    assert sorted(path.name for path in (uniseg / "models").iterdir()) == ["brain", "liver", "lung"]
    loaded = TrainedModel.load(uniseg / "models" / "brain")
    weights = uniseg_weights()
    kept = loaded.parameters[0]["decoder.seg_layers.1.weight"]
    assert torch.equal(kept, weights["seg_outputs.1.weight"][:2])
    assert not [name for name in loaded.parameters[0] if ".convs.2." in name and "conv.convs" in name]


def test_the_authors_tasks(root):
    """From weights of 11 tasks with 1, 2 and 4 channels, without a file."""
    write_v1(root / "authors", uniseg_weights(11, (1, 2, 4), 4), None)
    assert run("import_v1 --method uniseg authors -o models") == 0
    assert len(list((root / "models").iterdir())) == 11
    brain, whole_body = (TrainedModel.load(root / "models" / name) for name in ("brain", "whole_body"))
    assert (brain.channels, brain.configuration.spacing, brain.configuration.use_mask_for_norm) == (
        4,
        [1.0, 1.0, 1.0],
        [True] * 4,
    )
    assert whole_body.configuration.spacing == [8.0, 4.0, 4.0]
    assert whole_body.configuration.normalization_schemes == ["CTNormalization", "ZScoreNormalization"]


NNUNET = "import_v1 --method nnunet v1 -o model"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("import_v1 --method unet v1 -o model", "--method: expected a method on nnU-Net v1, got 'unet'."),
        ("import_v1 --method nnunet v1", "expected -d and -n, number and name of the dataset"),
        ("import_v1 --method nnunet v1 -d 60", "expected -d and -n, number and name of the dataset"),
        ("import_v1 --method nnunet v1 -d 60 -n a__b", "expected a dataset named like Dataset003_Liver"),
        ("import_v1 --method nnunet gone -o model", "gone: expected a checkpoint of nnU-Net v1, found none. Give"),
        (
            "import_v1 --method ba_net v1 -o model",
            "expected weights of ba_net, found no tensor conv_blocks_boundary.*.",
        ),
        (f"{NNUNET} --labels background liver", "--labels: expected 3 classes with background, or 3 regions"),
        (f"{NNUNET} --labels liver background x", "--labels: expected different names, 'background' first"),
        (f"{NNUNET} --labels background x x", "--labels: expected different names, 'background' first"),
        (f"{NNUNET} --channels CT PET", "--channels: expected 1 channels, as the network has, got 2."),
        (f"{NNUNET} --mirror_axes 3", "--mirror_axes: expected a number from 0 to 2, got 3."),
        (f"{NNUNET} --tasks tasks.json", "--tasks: expected another --method than nnunet. Drop --tasks."),
        (f"{NNUNET} --task liver", "--task: expected another --method than nnunet. Drop --task."),
        (
            f"{NNUNET} --labels background --dataset_json tasks.json",
            "--labels and --dataset_json: expected one of both",
        ),
        ("import_v1 --method uniseg uniseg -o model --labels a", "--labels: expected another --method than uniseg."),
        ("import_v1 --method uniseg v1 -o model", "expected weights of uniseg, found no tensor intermedia_prompt.*."),
        ("import_v1 --method nnunet uniseg -o model", "which it does not have. Give --method uniseg."),
        ("import_v1 --method uniseg uniseg -o model", "expected 11 tasks (the authors), found 3. Describe each with"),
        (
            "import_v1 --method uniseg uniseg -o model --tasks tasks.json --task 3",
            "--task: expected a number below 3, or a task's name, got '3'. ",
        ),
        (
            "import_v1 --method uniseg uniseg -d 997 -n Mine --tasks tasks.json",
            "-d: expected room for the tasks up to 999, got 1000 for lung.",
        ),
        (
            "import_v1 --method uniseg uniseg v1/plans.pkl -o model --tasks many.json",
            "expected at least 4 logits for task 'many', found 3.",
        ),
        (
            "import_v1 --method uniseg uniseg -o model --tasks channels.json",
            "expected a first convolution for the 3 channels of task 'lung', found those for 1, 2.",
        ),
        (
            "import_v1 --method uniseg uniseg wide.pkl -o model --tasks tasks.json",
            "expected 'intermedia_prompt' for the patch 4 x 16 x 32 of the plans, found one of shape (1, 3, 2, 4, 4)",
        ),
        ("import_v1 --method nnunet v1 evil.pkl -o model", "which may run code"),
        ("import_v1 --method nnunet evil.model v1/plans.pkl -o model", "which may run code"),
    ],
)
def test_mistakes(uniseg, mistake: Callable[[str], str], words, line):
    (uniseg / "many.json").write_text(
        json.dumps([{**TASKS[0], "name": "many", "labels": ["background", "a", "b", "c"]}, *TASKS[1:]])
    )
    (uniseg / "channels.json").write_text(json.dumps([*TASKS[:2], {**TASKS[2], "channels": ["CT", "CT", "CT"]}]))
    write_pickle(uniseg / "wide.pkl", v1_plans((4, 16, 32), schemes=["MR"] * 4))
    evil = Evil(uniseg / "ran")
    write_pickle(uniseg / "evil.pkl", {"plans": evil})
    torch.save({"state_dict": unet_weights(), "more": evil}, uniseg / "evil.model")
    before = content(uniseg)
    assert line in mistake(words)
    assert content(uniseg) == before
    assert not (uniseg / "model").exists()
    assert list((uniseg / "results").iterdir()) == []


class Evil:
    """Makes a file when unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


def test_trust_runs_what_the_files_ask_for(root):
    write_pickle(root / "v1" / "plans.pkl", v1_plans(more=Evil(root / "ran")))
    assert run("import_v1 --method nnunet v1 -o model --trust") == 0
    assert (root / "ran").is_dir()


def test_missing_plans(root, mistake):
    (root / "v1" / "plans.pkl").rename(root / "v1.pkl")
    words = f"import_v1 --method nnunet v1/fold_0/{FINAL} -o model"
    assert mistake(words) == (
        f"v1/fold_0/{FINAL}: expected v1's plans, {FINAL}.pkl beside it or plans.pkl in the folder above, found "
        f"neither. Give the file as second argument."
    )
    assert run(words.replace("-o", "v1.pkl -o")) == 0


def test_existing_models_and_taken_numbers_are_left_alone(uniseg, mistake):
    words = "import_v1 --method nnunet v1 -d 902 -n Kidney"
    assert run(words) == 0
    before = content(uniseg)
    model = uniseg / "results" / "Dataset902_Kidney" / "nnUNetTrainer__V1Plans__3d_fullres"
    assert mistake(words).startswith(f"{model}: expected no such model yet, found one. Choose another with -d and -n")
    assert mistake(words.replace("Kidney", "Liver")).startswith("Dataset902_Liver: expected a free number")
    tasks = "import_v1 --method uniseg uniseg -d 900 -n Mine --tasks tasks.json"
    assert mistake(tasks).startswith("Dataset902_brain: expected a free number, Dataset902_Kidney has it too.")
    assert content(uniseg) == before
    assert main([*tasks.split(), "--task", "liver"]) == 0
    before = content(uniseg)
    assert mistake([*tasks.split(), "--task", "lung"]).endswith("Choose another with -d and -n, or -o, or remove it.")
    assert content(uniseg) == before
