"""``nnunet_ext export_onnx``: what it says; ``tests/export`` has what it writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_model import write_small_model
from without_packages import run_without

from nnunet_ext.cli.main import main


def test_folds(tmp_path: Path, capfd: pytest.CaptureFixture[str], mistake: Callable[[str], str]) -> None:
    model, onnx = write_small_model(tmp_path / "results", folds=(0, 1, 2)), tmp_path / "onnx"
    assert main(["export_onnx", str(model), "-o", str(onnx), "-f", "2", "0"]) == 0
    captured = capfd.readouterr()
    assert captured.out == f"2 folds written. nnunet_ext predict_onnx -i IMAGES -o OUTPUT -m {onnx}\n"
    assert f"nnunet_ext: {onnx / 'fold_2.onnx'}: logits of onnxruntime equal torch's" in captured.err
    assert sorted(file.name for file in onnx.iterdir()) == ["fold_0.onnx", "fold_2.onnx", "model.json"]
    assert mistake(f"export_onnx {model} -o {onnx}").startswith(f"{onnx}: expected no exported model, found model.json")
    line = mistake(f"export_onnx {model} -o {tmp_path / 'other'} -f 4")
    assert line.endswith("expected the checkpoint of fold 4, found no file. Trained: 0, 1, 2.")
    line = mistake(f"export_onnx {model} -o {tmp_path / 'other'} -chk checkpoint_best.pth")
    assert "expected a fold with checkpoint_best.pth, found none" in line


def test_no_model(tmp_path: Path, mistake: Callable[[str], str]) -> None:
    line = mistake(f"export_onnx {tmp_path} -o {tmp_path / 'onnx'}")
    assert line.startswith(f"{tmp_path / 'plans.json'}: expected that of a trained model")


def test_missing_packages() -> None:
    done = run_without({"onnxscript"}, "export_onnx", "model", "-o", "out")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        "nnunet_ext: error: expected the packages onnx, onnxscript, onnxruntime, SimpleITK, found no onnxscript. "
        "Install: pip install 'nnunet_ext[onnx]'"
    )
