"""``nnunet_ext predict_onnx``, also in a process where neither torch nor nnU-Net can be imported."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK
from small_model import assert_labels_of, phantom, stock, write_image, write_small_model
from without_packages import run_without

from nnunet_ext.cli.main import main

SPACING = (1.4, 1.1, 0.9)
HEAVY = {"torch", "nnunetv2", "batchgenerators", "nibabel", "skimage", "pandas", "onnx", "matplotlib", "threadpoolctl"}


@pytest.fixture
def exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, Path]:
    model, onnx = write_small_model(tmp_path / "results", folds=(0, 1)), tmp_path / "onnx"
    assert main(["export_onnx", str(model), "-o", str(onnx)]) == 0
    said = f"2 folds written. nnunet_ext predict_onnx -i IMAGES -o OUTPUT -m {onnx}\n"
    assert capsys.readouterr().out == said
    for name in "ab":
        write_image(tmp_path / "images" / f"{name}_0000.nii.gz", phantom()[0], SPACING)
    return model, onnx


def test_without_torch_and_nnunet(exported: tuple[Path, Path], tmp_path: Path) -> None:
    model, onnx = exported
    words = ("predict_onnx", "-i", tmp_path / "images", "-o", tmp_path / "out", "-m", onnx, "--disable_progress_bar")
    done = run_without(HEAVY, *words)
    assert (done.returncode, done.stdout) == (0, f"2 cases predicted in {tmp_path / 'out'}\n"), done.stderr
    assert done.stderr == "\n"
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out" / "a.nii.gz")))
    assert_labels_of(stock(model, (0, 1)), found, phantom(), SPACING, within=2)


def test_options(exported: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model, onnx = exported
    words = f"predict_onnx -i {tmp_path / 'images'} -o {tmp_path / 'out'} -m {onnx} -f 1 --disable_tta -step_size 0.9"
    assert main([*words.split(), "-threads", "1"]) == 0
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out" / "a.nii.gz")))
    theirs = stock(model, (1,), use_mirroring=False, tile_step_size=0.9)
    assert_labels_of(theirs, found, phantom(), SPACING, within=2)
    assert "cases: 100%" in capsys.readouterr().err
    (tmp_path / "out" / "a.nii.gz").write_bytes(b"kept")
    assert main([*words.split(), "--continue_prediction"]) == 0
    assert capsys.readouterr().out == f"0 cases predicted in {tmp_path / 'out'}\n"
    assert (tmp_path / "out" / "a.nii.gz").read_bytes() == b"kept"


def test_a_case_that_fails(exported: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    _, onnx = exported
    image = tmp_path / "images" / "a_0000.nii.gz"
    image.write_bytes(image.read_bytes()[:2000])
    words = f"predict_onnx -i {tmp_path / 'images'} -o {tmp_path / 'out'} -m {onnx} --disable_progress_bar"
    capsys.readouterr()
    assert main(words.split()) == 1
    captured = capsys.readouterr()
    assert captured.out == f"1 case predicted in {tmp_path / 'out'}\n"
    lines = captured.err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"nnunet_ext: case a was not predicted: {image}: expected an intact image")
    assert lines[1] == "1 case not predicted:"
    assert lines[2].startswith(f"a: {image}: ")


def test_mistakes(tmp_path: Path, mistake) -> None:
    (tmp_path / "images").mkdir()
    words = f"predict_onnx -i {tmp_path / 'images'} -o {tmp_path / 'out'} -m {tmp_path / 'images'}"
    assert mistake(words).startswith(f"{tmp_path / 'images' / 'model.json'}: expected that of an exported model")
    assert "expected a folder, found none" in mistake(words.replace("-m ", "-m no"))
    assert "expected a number above 0 and at most 1" in mistake(f"{words} -step_size 2")


def test_missing_packages() -> None:
    done = run_without({"onnxruntime", "scipy"}, "predict_onnx", "-i", ".", "-o", "out", "-m", ".")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        "nnunet_ext: error: expected the packages numpy, scipy, SimpleITK, onnxruntime, tqdm, found no scipy and no "
        "onnxruntime. Install: pip install numpy scipy SimpleITK onnxruntime tqdm"
    )
