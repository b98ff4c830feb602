"""``nnunet_ext check_parity``: its table, exit code and files; mistakes in one line."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hostile_files import PICKLES, torch_zip
from small_model import phantom, write_image, write_small_model

from nnunet_ext import sockets
from nnunet_ext.cli.main import main
from nnunet_ext.prediction.parity import comparison
from nnunet_ext.prediction.parity.comparison import CaseParity, FailedComparison
from nnunet_ext.prediction.parity.sides import Cost, Settings

GIB = 2**30


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with three folds, and the images a and b; the door that the command opens is closed again afterwards."""
    monkeypatch.setenv(sockets.VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 1), ("b", 2)):
        write_image(tmp_path / "images" / f"{name}_0000.nii.gz", phantom((10, 18, 14), seed=seed)[0], (2.0, 1.3, 1.2))
    return write_small_model(tmp_path / "results", folds=(0, 10, 2, "all"))


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Settings]]:
    """The comparison is replaced by its results; return the settings that it was called with."""
    seen: list[Settings] = []

    def replace(*results: CaseParity | FailedComparison | BaseException) -> list[Settings]:
        def compare(settings, model, cases, output):
            seen.append(settings)
            (output / "stock").mkdir()
            for result in results[: len(cases)]:
                if isinstance(result, BaseException):
                    raise result
                yield result

        monkeypatch.setattr(comparison, "compare_predictions", compare)
        return seen

    return replace


def parity(name: str = "a", differing: int = 0, gap: float = 0.0, dice: float | None = 1.0) -> CaseParity:
    return CaseParity(name, 2000, differing, dice, gap, Cost(2.0, GIB), Cost(4.0, 5 * GIB))


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_a_model_in_two_processes(model, capfd):
    """Nothing is replaced: two processes that predict one image."""
    words = [
        str(model),
        "images",
        "-device",
        "cpu",
        "-f",
        "0",
        "2",
        "-n",
        "1",
        "--keep",
        "-o",
        "out",
        "-step_size",
        "1",
    ]
    assert main(["check_parity", *words]) == 0
    text = capfd.readouterr().out
    header, _, case, total = cells(text)
    assert header[:2] == ["case", "voxels"]
    assert (case[0], total[0]) == ("a", "all")
    assert case[1] == str(10 * 18 * 14)
    assert int(case[2]) <= 3
    assert float(case[4]) > 0.99
    seconds, memory = list(map(float, case[6:8])), list(map(float, case[8:]))
    assert min(seconds) > 0
    assert all(0 < size < 3 for size in memory)
    file = Path("out/parity.md").read_text()
    assert cells(file) == cells(text)
    assert f"{model}, folds 0 2, checkpoint_final.pth, mirroring as in the training, step size 1, cpu\n" in file
    assert sorted(path.name for path in Path("out").iterdir()) == ["nnunet_ext", "parity.md", "stock"]
    assert Path("out/stock/a.nii.gz").is_file()
    assert Path("out/nnunet_ext/a.nii.gz").is_file()


def test_the_table(model, given, capsys):
    given(parity(), parity("b", 20, 0.75, None))
    assert main(["check_parity", str(model), "images", "-device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert cells(text)[2:] == [
        ["a", "2000", "0", "0", "1.000000", "0.00", "4.00", "2.00", "5.00", "1.00"],
        ["b", "2000", "20", "1.0e-02", "", "0.75", "4.00", "2.00", "5.00", "1.00"],
        ["all", "4000", "20", "5.0e-03", "1.000000", "0.75", "8.00", "4.00", "5.00", "1.00"],
    ]
    verdict = (
        "The predictions differ by rounding only: 20 of 4000 voxels, at which the two logits are within one step of "
        "fp16."
    )
    assert text.endswith(f"\n{verdict}\nparity/parity.md written\n")
    file = Path("parity/parity.md").read_text()
    assert verdict in file
    assert list(Path("parity").iterdir()) == [Path("parity/parity.md")]  # label maps are not kept


def test_the_settings(model, given):
    seen = given(parity())
    assert main(["check_parity", str(model), "images", "-device", "cpu"]) == 0
    assert main(["check_parity", str(model), "images", "-device", "cpu", "-f", "all", "--disable_tta"]) == 0
    assert main(["check_parity", str(model), "images", "-device", "cpu", "-f", "0", "--trust"]) == 0
    # nnU-Net's order, on which the last bit of the average depends
    assert seen == [
        Settings(model, ("0", "10", "2"), "checkpoint_final.pth", "cpu", 0.5, True),
        Settings(model, ("all",), "checkpoint_final.pth", "cpu", 0.5, False),
        Settings(model, ("0",), "checkpoint_final.pth", "cpu", 0.5, True, trust=True),
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_a_checkpoint_that_would_run_code(model, tmp_path, given, mistake, packed):
    seen, marker = given(parity()), tmp_path / "marker"
    torch_zip(model / "fold_0" / "checkpoint_final.pth", PICKLES["os.system"][1](marker))
    given_model = zipped(model, tmp_path) if packed else model
    words = ["check_parity", str(given_model), "images", "-device", "cpu", "-f", "0"]
    assert "checkpoint_final.pth: expected only weights, numbers and text, but it asks for os.system" in mistake(words)
    assert seen == []
    assert not marker.exists()


def zipped(model: Path, folder: Path) -> Path:
    """The model in a zip file."""
    with zipfile.ZipFile(folder / "model.zip", "w") as archive:
        for file in (path for path in model.rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(model.parent.parent))
    return folder / "model.zip"


@pytest.mark.parametrize(("gap", "shown"), [(35.26, "35.3"), (np.inf, "inf"), (np.nan, "nan")])
def test_more_than_rounding(model, given, capsys, gap, shown):
    given(parity("a", 3, 0.5), parity("b", 1, gap))
    assert main(["check_parity", str(model), "images", "-device", "cpu"]) == 1
    text = "The predictions differ by more than rounding: at a voxel of b, the two logits are"
    assert f"\n{text} {shown} steps of fp16 apart.\n" in capsys.readouterr().out


def test_equal(model, given, capsys):
    given(parity(), parity("b"))
    assert main(["check_parity", str(model), "images", "-device", "cpu"]) == 0
    assert "\nThe label maps are equal: all 4000 voxels.\n" in capsys.readouterr().out


LOGGED = "nnunet_ext: images are resampled by nnunet_ext\n"


def test_cases_that_fail(model, given, capsys):
    write_image(Path("images/c_0000.nii.gz"), phantom((10, 18, 14))[0], (2.0, 1.3, 1.2))
    given(FailedComparison("a", "a: expected x"), parity("b", 3, 9.0), FailedComparison("c", "c: expected y"))
    assert main(["check_parity", str(model), "images", "-device", "cpu"]) == 2
    shown = capsys.readouterr()
    assert [row[0] for row in cells(shown.out)[2:]] == ["b", "all"]
    assert "9.0 steps of fp16 apart. 2 of 3 cases were not compared.\n" in shown.out
    assert shown.err == LOGGED + "nnunet_ext: error: a: expected x\nnnunet_ext: error: c: expected y\n"
    file = Path("parity/parity.md").read_text()
    assert "2 of 3 cases were not compared.\n\n- a: expected x\n- c: expected y\n\n|" in file
    assert cells(file) == cells(shown.out)


def test_no_case_that_does_not_fail(model, given, capsys):
    given(FailedComparison("a", "a: expected x"), FailedComparison("b", "b: expected x"))
    assert main(["check_parity", str(model), "images", "-device", "cpu"]) == 2
    assert capsys.readouterr().out == "2 of 2 cases were not compared.\nparity/parity.md written\n"
    file = Path("parity/parity.md").read_text()
    assert file.endswith("\n\n2 of 2 cases were not compared.\n\n- a: expected x\n- b: expected x\n")


def test_an_interruption(model, given, capsys):
    given(parity(), KeyboardInterrupt())
    assert main(["check_parity", str(model), "images", "-device", "cpu"]) == 130
    assert "\nThe label maps are equal: all 2000 voxels. 1 of 2 cases were not compared.\n" in capsys.readouterr().out
    assert "1 of 2 cases were not compared.\n\n|" in Path("parity/parity.md").read_text()


def test_a_truncated_image(model, monkeypatch, capsys):
    """Threads in place of processes, and nothing else is replaced."""
    monkeypatch.setattr(comparison, "ProcessPoolExecutor", lambda n, _: ThreadPoolExecutor(n))
    file = Path("images/b_0000.nii.gz")
    file.write_bytes(file.read_bytes()[:-300])
    assert main(["check_parity", str(model), "images", "-device", "cpu", "-f", "0", "-step_size", "1"]) == 2
    shown = capsys.readouterr()
    assert [row[0] for row in cells(shown.out)[2:]] == ["a", "all"]
    (line,) = [line for line in shown.err.splitlines() if "error" in line]
    assert line.startswith(
        f"nnunet_ext: error: b: expected a prediction by nnunet_ext, which failed: {file}: expected an intact image"
    )


def test_a_folder_that_is_no_fold(model, given):
    seen = given(parity(), parity("b"))
    shutil.copytree(model / "fold_0", model / "fold_0_backup")
    assert main(["check_parity", str(model), "images", "-device", "cpu"]) == 0
    assert seen[0].folds == ("0", "10", "2")


def test_the_logs(model, given, capsys):
    """Who resamples; afterwards logs are silent again."""
    given(parity(), parity("b"))
    package = logging.getLogger("nnunet_ext")
    before = package.handlers[:], package.level
    assert main(["check_parity", str(model), "images", "-device", "cpu"]) == 0
    assert capsys.readouterr().err == LOGGED
    assert (package.handlers, package.level) == before


def test_a_zip_file(model, given, capsys):
    seen = given(parity(), parity("b"))
    with zipfile.ZipFile("model.zip", "w") as archive:
        for file in model.rglob("*.*"):
            archive.write(file, file.relative_to(model.parents[1]))
    assert main(["check_parity", "model.zip", "images", "-device", "cpu", "-n", "1"]) == 0
    assert [row[0] for row in cells(capsys.readouterr().out)[2:]] == ["a", "all"]
    assert (seen[0].model.name, seen[0].folds) == (model.name, ("0", "10", "2"))
    assert list(Path("parity").iterdir()) == [Path("parity/parity.md")]


def test_a_model_that_is_left_to_nnunet(model, given, capsys):
    seen = given(parity())
    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["resampling_fn_probabilities"] = "resample_torch_fornnunet"
    (model / "plans.json").write_text(json.dumps(plans))
    assert main(["check_parity", str(model), "images", "-device", "cpu"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(
        f"{model}: nothing to compare, nnunet_ext predict leaves this model to nnU-Net: the plans name "
        f"resample_torch_fornnunet"
    )
    assert seen == []


def test_mistakes(model, mistake):
    words = f"check_parity {model} images -device cpu"
    text = "none: expected a trained model, found none. Give its folder or its zip file."
    assert mistake(words.replace(str(model), "none")) == text
    assert "expected the checkpoint of fold 5, found no file" in mistake(f"{words} -f 5")
    Path("images/a_0000.nii.gz").unlink()
    Path("images/b_0000.nii.gz").unlink()
    assert mistake(words).startswith("images: expected images named CASE_0000.nii.gz, found none.")
    Path("file").touch()
    assert "expected a folder, found a file at file" in mistake(f"{words} -o file")
