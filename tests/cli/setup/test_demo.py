"""The demo: its options, and a shortened run of all of it."""

import os
import re
import sysconfig
from pathlib import Path

import nibabel
import numpy as np
import pytest
from matplotlib.image import imread

from nnunet_ext.cli.main import main
from nnunet_ext.cli.setup.demo import Demo, _environment, _variables, exports
from nnunet_ext.errors import UserError


def test_defaults():
    demo = Demo.parse([])
    assert (demo.trainer, demo.data, str(demo.out)) == ("BANetTrainer", None, "nnunet_ext_demo")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trainer": "BaNetTrainer"}, "--trainer: unknown trainer 'BaNetTrainer'. Did you mean 'BANetTrainer'?"),
        ({"trainer": "nnUNetTrainer"}, "--trainer: unknown trainer 'nnUNetTrainer'."),
        ({"data": Path("Dataset001_Nowhere")}, "--data Dataset001_Nowhere: expected a raw nnU-Net dataset"),
        ({"epochs": 0}, "--epochs: expected an integer >= 1, got 0."),
        ({"steps": -1}, "--steps: expected an integer >= 1, got -1."),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Demo(out=tmp_path / "out", **options).run()
    assert not (tmp_path / "out").exists()


def test_exports_can_be_pasted():
    variables = {"A": "/plain", "B": "/with space", "PATH": "/venv/bin"}
    assert exports(variables) == "export A=/plain\nexport B='/with space'\nexport PATH=/venv/bin:\"$PATH\""


def test_a_program_that_is_not_on_path_finds_its_fellows(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/usr/bin")
    variables = _variables(tmp_path, "cpu")
    assert Path(variables["PATH"]) == Path(sysconfig.get_path("scripts"))
    assert _environment(variables)["PATH"] == f"{variables['PATH']}{os.pathsep}/usr/bin"
    monkeypatch.setenv("PATH", variables["PATH"])
    assert "PATH" not in _variables(tmp_path, "cpu")


@pytest.mark.usefixtures("drawn")
@pytest.mark.slow
def test_short_demo_from_end_to_end(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["demo", "--out", str(out), "--epochs", "1", "--steps", "2"]) == 0
    printed = capsys.readouterr().out
    raw, predictions = out / "nnUNet_raw" / "Dataset999_Phantom", out / "predictions"
    commands = [line[2:] for line in printed.splitlines() if line.startswith("$ ")]
    knobs = "num_val_iterations_per_epoch=8 optimizer=AdamW initial_lr=0.003 seed=0"
    assert commands[0] == (
        "nnunet_ext plan_and_preprocess -d 999 -pl LitePlanner -c 3d_fullres "
        f"--set num_epochs=1 num_iterations_per_epoch=2 {knobs}"
    )
    device = commands[1].rpartition(" ")[2]
    expected = [
        f"nnUNetv2_train 999 3d_fullres 0 -tr {trainer} -p LitePlans -device {device}"
        for trainer in ("BANetTrainer", "NNUNetBaselineTrainer")
    ]
    for trainer in ("BANetTrainer", "NNUNetBaselineTrainer"):
        to = predictions / trainer
        expected += [
            f"nnUNetv2_predict -i {out}/unseen/images -o {to} -d 999 -f 0 -tr {trainer} -c 3d_fullres -p LitePlans "
            f"-npp 0 -nps 0 -device {device}",
            f"nnUNetv2_evaluate_folder {out}/unseen/labels {to} -djfile {to}/dataset.json -pfile {to}/plans.json",
        ]
    assert commands[1:] == expected
    assert f"export nnUNet_results={out / 'nnUNet_results'}\n" in printed
    assert [len(list((out / "logs").glob(f"0{number}_*.log"))) for number in range(1, 8)] == [1] * 7

    results = (out / "results.md").read_text()
    assert results in printed
    assert [line.split("|")[1].strip() for line in results.splitlines()[2:7]] == [
        *("organ", "wall", "tumour", "foreground mean", "training, seconds")
    ]
    assert "6 unseen cases (labelled cases of imagesTs)" in results
    truth = nibabel.load(raw / "labelsTs" / "unseen_000.nii.gz")
    assert nibabel.load(predictions / "BANetTrainer" / "unseen_000.nii.gz").shape == truth.shape
    figure, curve = imread(out / "figure.png"), imread(out / "training_curve.png")
    assert min(figure.shape[:2]) > 500
    assert np.ptp(curve[..., :3]) == 1
