"""``nnunet_ext package``: what it says; ``tests/challenges/packaging`` has what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from challenge_model import KITS, same_geometry, write_challenge_model

from nnunet_ext.cli.main import main
from nnunet_ext.export.model_archive import export_model
from nnunet_ext.prediction import Predictor

Mistake = Callable[[list[str] | str], str]


def test_packaged_tested_and_equal_to_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The container's process predicts the labels of the model that was packaged."""
    model = write_challenge_model(tmp_path / "results", spacing=[2.5, 2.0, 2.0])
    out = tmp_path / "kits"
    words = ["package", "--challenge", "kits21", "--model", str(model), "--out", str(out), "--time_limit", "1h"]
    assert main([*words, "--tflops", "1e-8", "--self_test"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert "nnunet_ext: Estimate for 20 x 40 x 40 voxels (median training image): " in said.err
    assert "nnunet_ext: Note: 1 fold x 2 mirrorings will not fit 60 min; " in said.err
    assert lines[0] == f"{out} written: kits21, folds 0, exec"
    (image,) = (out / "test" / "input" / "interf0" / "images" / "ct").iterdir()
    written = out / "test" / "output" / image.name
    assert lines[1] == f"Self-test passed, without docker: {written}"
    assert lines[2] == f"Next, where docker runs: {out}/do_test_run.sh, then {out}/do_save.sh"
    found, source = sitk.ReadImage(str(written)), sitk.ReadImage(str(image))
    assert same_geometry(found, source)
    sitk.WriteImage(source, str(tmp_path / "image.nii.gz"))
    Predictor(model, (0,), device="cpu").predict_files([tmp_path / "image.nii.gz"], tmp_path / "labels.nii.gz")
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "labels.nii.gz")))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), expected)
    assert len(np.unique(expected)) > 1


def test_a_challenge_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a zip file, which has no record of a challenge."""
    model = write_challenge_model(tmp_path / "results", None, folds=(0, 1))
    export_model(model, tmp_path / "model.zip", ["0", "1"], show_progress=False)
    interface = {
        "name": "mine",
        "inputs": [{"slug": "mr-t1", "relative_path": "images/mr-t1", "channel": "T1"}],
        "output": {"slug": "tumor", "relative_path": "images/tumor", "kind": "label_map"},
    }
    (tmp_path / "mine.json").write_text(json.dumps(interface))
    words = ["package", "--challenge", "custom", "--interface", str(tmp_path / "mine.json")]
    words += ["--model", str(tmp_path / "model.zip"), "--out", str(tmp_path / "mine"), "-f", "1", "--no_estimate"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("written: mine, folds 1, exec")
    assert lines[1] == "Note: dataset.json has no key 'challenge': the model's labels are written as they are."
    assert json.loads((tmp_path / "mine" / "container.json").read_text())["interface"]["inputs"][0]["slug"] == "mr-t1"


def test_mistakes(tmp_path: Path, mistake: Mistake) -> None:
    model = write_challenge_model(tmp_path / "results", KITS)
    words = f"package --model {model} --out {tmp_path / 'out'}"
    assert "expected --interface FILE with custom, and only with it" in mistake(f"{words} --challenge custom")
    file = f"--interface {model / 'plans.json'}"
    assert "expected --interface FILE with custom, and only with it" in mistake(f"{words} --challenge kits21 {file}")
    assert "expected name, inputs and output of a challenge" in mistake(f"{words} --challenge custom {file}")
    for text in ("20", "0min", "20 min", "two"):
        line = mistake([*words.split(), "--challenge", "kits21", "--time_limit", text])
        assert f"expected a time such as 20min, 90s or 1h, got {text!r}" in line
    assert "expected the checkpoint of fold 3, found no file" in mistake(f"{words} --challenge kits21 -f 3")
    assert not (tmp_path / "out" / "Dockerfile").exists()
