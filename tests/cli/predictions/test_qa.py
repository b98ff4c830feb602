"""``nnunet_ext qa``: its files, exit code and mistakes in one line."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from small_model import phantom, write_image, write_small_model

from nnunet_ext import sockets
from nnunet_ext.cli.main import main

NAME = "Dataset901_Phantom"
SPACING = (2.0, 1.0, 1.0)
MODEL = f"results/{NAME}/nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture
def qa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with two folds and ten training labels, and three predictions, the last of them empty."""
    monkeypatch.setenv(sockets.VARIABLE, "")
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for part in ("raw", "preprocessed", "results"):
        (tmp_path / part).mkdir()
        monkeypatch.setenv(f"nnUNet_{part}", str(tmp_path / part))
    labels = np.zeros((8, 16, 12), np.uint8)
    labels[2:6, 3:12, 3:9], labels[3, 5, 5], labels[4, 5, 5] = 1, 2, 3
    for number in range(10):
        write_image(tmp_path / "raw" / NAME / "labelsTr" / f"case_{number}.nii.gz", labels, SPACING)
    for number, name in enumerate("abc"):
        image = phantom((8, 16, 12), seed=number)[0]
        write_image(tmp_path / "images" / f"{name}_0000.nii.gz", image, SPACING)
        changed = np.zeros_like(labels) if name == "c" else labels.copy()
        if name == "b":
            changed[2, 3, 3] = 0  # no copy of another
        write_image(tmp_path / "predictions" / f"{name}.nii.gz", changed, SPACING)
    write_small_model(tmp_path / "results", folds=(0, 1))
    return tmp_path


def words(root: Path, *more: str, **changes: str) -> list[str]:
    model = root / MODEL
    options = {"i": root / "images", "p": root / "predictions", "m": model, "o": root / "out" / "qa.html"} | changes
    return ["qa", *(str(word) for flag, value in options.items() for word in (f"-{flag}", value)), *more]


def rows(root: Path) -> dict[str, list[str]]:
    with (root / "out" / "qa.csv").open(newline="", encoding="utf-8") as stream:
        return {row[0]: row[1:] for row in csv.reader(stream)}


def test_the_page_the_table_and_the_measures(qa, capsys):
    assert main(words(qa, "--csv")) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "| case | suspicion |                                           strongest reason |",
        "|------|----------:|-----------------------------------------------------------:|",
        "| c    |      1.00 | empty: no class was found, as in none of 10 training cases |",
        f"1 of 3 cases to look at first; {qa / 'out' / 'qa.html'} written",
        f"{qa / 'out' / 'qa.csv'} written",
    ]
    assert "training labels" in told.err  # a progress bar
    assert "cases" in told.err
    assert sorted(file.name for file in (qa / "out").iterdir()) == ["qa.csv", "qa.html", "qa_reference.json"]
    assert list(rows(qa)) == ["case", "c", "a", "b"]
    assert rows(qa)["case"] == ["suspicion", "reasons", *(f"size of {x}, ml" for x in ("organ", "wall", "tumour"))]
    assert rows(qa)["a"] == ["0.0000", "", f"{0.002 * (4 * 9 * 6 - 2):g}", "0.002", "0.002"]
    text = (qa / "out" / "qa.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 3
    assert "<dd>10 training labels</dd>" in text
    assert "Predictions of predictions" in text
    assert main(words(qa)) == 0
    assert "10 training labels were measured before" in capsys.readouterr().err


def test_names_from_files_are_escaped(qa):
    attack = "<script>alert(1)<"
    for folder, end in (("images", "_0000.nii.gz"), ("predictions", ".nii.gz")):
        (qa / folder / f"a{end}").rename(qa / folder / f"{attack}{end}")
    file = next((qa / "results").rglob("dataset.json"))
    description = json.loads(file.read_text())
    description["labels"] = {"background": 0, "<script src=x>": 1, "wall": 2, "tumour": 3}
    file.write_text(json.dumps(description))
    assert main(words(qa, "--csv")) == 0
    text = (qa / "out" / "qa.html").read_text(encoding="utf-8")
    assert text.count("<script") == 1
    assert "&lt;script&gt;alert(1)&lt;" in text
    assert "&lt;script src=x&gt;" in text
    assert attack in rows(qa)


def test_what_could_not_be_looked_at(qa, capsys):
    (qa / "predictions" / "a.nii.gz").unlink()
    (qa / "images" / "b_0000.nii.gz").write_bytes(b"no image")
    assert main(words(qa, "--csv")) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "2 cases could not be looked at: a, b"
    assert f"nnunet_ext: case b: {qa / 'images' / 'b_0000.nii.gz'}: expected an intact image" in told.err
    assert "Traceback" not in told.err
    assert rows(qa)["a"][:2] == ["1.0000", "file: image without a prediction of this name"]
    assert sorted(rows(qa)) == ["a", "b", "c", "case"]


def test_without_training_labels_images_are_still_looked_at(qa, capsys):
    shutil.rmtree(qa / "raw" / NAME)
    file = qa / "images" / "b_0000.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((12, 16, 8), np.float32), np.diag([1, 1, 2, 1])), file)
    assert main(words(qa, "--csv")) == 0
    assert "no training labels of Dataset901_Phantom were found" in capsys.readouterr().err
    assert rows(qa)["b"][:2] == ["1.0000", "constant: image: 0 in all voxels"]
    assert "no training labels: they were not found" in (qa / "out" / "qa.html").read_text(encoding="utf-8")


def test_disagreement(qa, capsys):
    for name in "ab":
        (qa / "predictions" / f"{name}.nii.gz").unlink()
        shutil.copy(qa / "predictions" / "c.nii.gz", qa / "predictions" / f"{name}.nii.gz")
    (qa / "images" / "c_0000.nii.gz").unlink()
    assert main(words(qa, "--csv", "--disagreement", "-device", "cpu", "--again", "1", "-f", "0", "1")) == 1
    assert "again" in capsys.readouterr().err
    found = rows(qa)
    assert "disagreement: organ: folds 0 and 1 overlap by a Dice of 0." in found["a"][1]
    assert "disagreement" not in found["b"][1]
    assert sorted(file.name for file in (qa / "out").iterdir()) == ["qa.csv", "qa.html", "qa_reference.json"]
    assert main(words(qa, "--csv", "--disagreement", "-device", "cpu", "-f", "0")) == 1
    found = rows(qa)
    assert all("with and without mirroring" in found[name][1] for name in "ab")
    assert "folds" not in found["a"][1]


@pytest.mark.parametrize(
    ("more", "changes", "text"),
    [
        ([], {"m": "none"}, "none: expected a trained model, found none. Give its folder or its zip file."),
        ([], {"i": "none"}, "-i: expected a folder, found none at none. See nnunet_ext qa --help"),
        ([], {"p": "none"}, "-p: expected a folder, found none at none. See nnunet_ext qa --help"),
        (["--again", "2"], {}, "--again: expected --disagreement beside it, found none. Add it, or leave out --again."),
        (["--csv"], {"o": "a.csv"}, "-o a.csv: expected the name of a page, got that of a table. Call it a.html."),
        (["--disagreement", "-device", "gpu"], {}, "-device: expected cpu, cuda, mps, got 'gpu'. See nnunet_ext qa"),
        (["--disagreement", "-device", "cpu", "-f", "7"], {}, f"{MODEL}/fold_7/checkpoint_final.pth: expected"),
        (
            ["--disagreement", "-device", "cpu", "-chk", "x"],
            {},
            f"{MODEL}: expected a fold with x to predict again, fou",
        ),
    ],
)
def test_mistakes(qa, capfd, more, changes, text, monkeypatch):
    monkeypatch.chdir(qa)
    assert main(words(Path(), *more, **changes)) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"nnunet_ext: error: {text}")
    assert not list(qa.rglob("qa.html"))


def test_the_page_is_there_before_cases_are_predicted_again(qa, monkeypatch):
    class StoppedError(Exception):
        """The second part has begun."""

    def stop(*_, **__):
        raise StoppedError

    monkeypatch.setattr("nnunet_ext.quality.disagreement.Repetition.reasons", stop)
    with pytest.raises(StoppedError):
        main(words(qa, "--csv", "--disagreement", "-device", "cpu"))
    assert sorted(file.name for file in (qa / "out").iterdir()) == ["qa.csv", "qa.html", "qa_reference.json"]


def test_a_model_that_may_run_code(qa, mistake):
    """Reading its JSON files runs nothing; predicting again would."""

    class Harmful:
        def __reduce__(self):
            return (Path.touch, (qa / "touched",))

    for file in (qa / MODEL).glob("fold_*/checkpoint_final.pth"):
        checkpoint = torch.load(file, weights_only=False)
        torch.save(checkpoint | {"more": Harmful()}, file)
    assert main(words(qa)) == 0
    message = mistake(words(qa, "--disagreement", "-device", "cpu"))
    assert "--trust" in message
    assert not (qa / "touched").exists()
    assert main(words(qa, "--disagreement", "-device", "cpu", "--trust")) == 0
    assert (qa / "touched").exists()


def test_no_images(qa, mistake):
    for file in (qa / "images").iterdir():
        file.unlink()
    assert mistake(words(qa)).startswith(f"{qa / 'images'}: expected images named CASE_0000.nii.gz, found none")
