"""``nnunet_ext next_cases``: its folder, exit code and mistakes in one line."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lock_holder import lock_holder
from small_model import phantom, write_image, write_small_model

from nnunet_ext import sockets
from nnunet_ext.cli.main import main

NAME = "Dataset901_Phantom"
SPACING = (2.0, 1.0, 1.0)
MODEL = f"results/{NAME}/nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with two training cases, and four images, the last of which is a training image."""
    monkeypatch.setenv(sockets.VARIABLE, "")
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for part in ("raw", "preprocessed", "results"):
        (tmp_path / part).mkdir()
        monkeypatch.setenv(f"nnUNet_{part}", str(tmp_path / part))
    labels = np.zeros((8, 16, 12), np.uint8)
    labels[2:6, 3:12, 3:9], labels[3, 5, 5], labels[4, 5, 5] = 1, 2, 3
    raw = tmp_path / "raw" / NAME
    for number in range(2):
        write_image(raw / "imagesTr" / f"case_{number}_0000.nii.gz", phantom((8, 16, 12), seed=90 + number)[0], SPACING)
        write_image(raw / "labelsTr" / f"case_{number}.nii.gz", labels, SPACING)
    for number, name in enumerate("abc"):
        write_image(tmp_path / "images" / f"{name}_0000.nii.gz", phantom((8, 16, 12), seed=number)[0], SPACING)
    (tmp_path / "images" / "case_0_0000.nii.gz").symlink_to(raw / "imagesTr" / "case_0_0000.nii.gz")
    model = write_small_model(tmp_path / "results")
    shutil.copy(model / "dataset.json", raw)
    return tmp_path


def words(root: Path, *more: str, model: str | Path = MODEL) -> list[str]:
    return ["next_cases", str(root / model), str(root / "images"), "-o", str(root / "out"), "-device", "cpu", *more]


def table(root: Path) -> list[dict[str, str]]:
    with (root / "out" / "next_cases.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_the_folder(root, capsys):
    assert main(words(root, "-k", "2")) == 0
    told = capsys.readouterr()
    rows = table(root)
    chosen = [row["case"] for row in rows]
    assert len(set(chosen)) == 2
    assert set(chosen) <= set("abc")
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert all(0 < float(row["score"]) < float(row["suspicion"]) for row in rows)  # annotated images are at a distance
    assert all(0 <= int(row["x_first"]) <= int(row["x_last"]) < 12 for row in rows)
    assert all(0 <= int(row["z_first"]) <= int(row["z_last"]) < 8 for row in rows)
    assert all(row["reasons"].split(":")[0] for row in rows)
    assert files(root / "out") == sorted(
        [
            "README.txt",
            "next_cases.csv",
            "next_cases.html",
            "next_cases.json",
            "qa_reference.json",
            *(f"imagesTr/{name}_0000.nii.gz" for name in chosen),
            *(f"labelsTr/{name}.nii.gz" for name in chosen),
        ]
    )
    assert (root / "out" / "imagesTr" / f"{chosen[0]}_0000.nii.gz").samefile(
        root / "images" / f"{chosen[0]}_0000.nii.gz"
    )
    assert "| rank | case | score |" in told.out
    assert told.out.splitlines()[-2:] == [
        f"2 of 3 images to annotate next in {root / 'out'}",
        f"{root / 'out' / 'labelsTr'} has drafts as the model predicts them: correct each, they are not truth",
    ]
    assert f"{root / 'images'}: 1 of 4 are annotated already and left out" in told.err
    page = (root / "out" / "next_cases.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert f"<dd>{', '.join(chosen)}</dd>" in page
    # drafts as predict writes them
    options = ["-i", str(root / "images"), "-o", str(root / "predicted"), "-d", "901", "-c", "3d_fullres", "-f", "0"]
    assert main(["predict", *options, "-device", "cpu"]) == 0
    for name in chosen:
        draft = root / "out" / "labelsTr" / f"{name}.nii.gz"
        assert draft.read_bytes() == (root / "predicted" / f"{name}.nii.gz").read_bytes()


def test_more_than_there_are_and_a_second_call(root, capsys):
    assert main(words(root, "-k", "9")) == 0
    assert "-k 9: there are 3 images to choose from; each is taken" in capsys.readouterr().err
    first = table(root)
    assert {row["case"] for row in first} == set("abc")
    assert main(words(root, "-k", "1", "--annotated", str(root / "raw" / NAME / "imagesTr"))) == 0
    assert table(root) == first[:1]
    assert len(files(root / "out" / "labelsTr")) == 1
    assert "2 training labels were measured before" in capsys.readouterr().err


def test_one_image(root, capsys):
    for name in "bc":
        (root / "images" / f"{name}_0000.nii.gz").unlink()
    assert main(words(root)) == 0
    assert "-k 10: there is 1 image to choose from; each is taken" in capsys.readouterr().err
    assert [row["case"] for row in table(root)] == ["a"]


def test_other_images_are_annotated(root):
    assert main(words(root, "--annotated", str(root / "images"), model=MODEL)) == 2
    for file in (root / "images" / "a_0000.nii.gz", root / "images" / "b_0000.nii.gz"):
        (root / "annotated").mkdir(exist_ok=True)
        (root / "annotated" / file.name).symlink_to(file)
    assert main(words(root, "--annotated", str(root / "annotated"))) == 0
    assert {row["case"] for row in table(root)} == {"c", "case_0"}


def test_at_random(root):
    assert main(words(root, "-k", "2", "--random", "--seed", "3")) == 0
    order = ["abc"[place] for place in np.random.default_rng(3).permutation(3)]
    assert [row["case"] for row in table(root)] == order[:2]
    assert {row["reasons"] for row in table(root)} == {"chosen at random"}
    assert len(files(root / "out" / "labelsTr")) == 2
    assert "next_cases.html" not in files(root / "out")


def test_a_damaged_image(root, capsys):
    (root / "images" / "b_0000.nii.gz").write_bytes(b"no image")
    assert main(words(root)) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "1 case could not be used: b"
    assert "Traceback" not in told.err
    assert {row["case"] for row in table(root)} == {"a", "c"}
    for name in "ac":
        (root / "images" / f"{name}_0000.nii.gz").write_bytes(b"no image")
    before = files(root / "out")
    assert main(words(root)) == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == "0 of 3 images to annotate next"
    assert told.err.splitlines()[-1] == "3 cases could not be used: a, b, c"
    assert files(root / "out") == before


def test_an_image_with_the_name_of_a_training_case(root, mistake, monkeypatch):
    """Its draft would replace that label when the folders are merged."""
    file = root / "images" / "case_0_0000.nii.gz"
    training = root / "raw" / NAME / "imagesTr" / file.name
    file.unlink()
    write_image(file, phantom((8, 16, 12), seed=50)[0], SPACING)
    with monkeypatch.context() as patch:
        patch.setattr("nnunet_ext.next_cases.search.Search.suspicious", None)
        assert mistake(words(root)) == (
            f"{file}: expected a name that no annotated image has, found that of {training}, another image, whose "
            "label the draft could replace. Rename it, or leave it out."
        )
    shutil.copy(training, file)
    assert main(words(root, "--random")) == 0
    assert {row["case"] for row in table(root)} == set("abc")


def test_a_page_of_few_images_has_large_pictures(root, monkeypatch):
    sides = []
    monkeypatch.setattr("nnunet_ext.next_cases.search.picture_side", lambda cases: 64 if cases > 1 else 256)
    monkeypatch.setattr("nnunet_ext.quality.assessment.picture_side", lambda cases: 64 if cases > 1 else 256)
    monkeypatch.setattr(
        "nnunet_ext.quality.assessment.picture", lambda *_, side, **__: sides.append(side) or f"data:{side}"
    )
    assert main(words(root, "-k", "1")) == 0
    assert sides == [64, 64, 64, 256]
    page = (root / "out" / "next_cases.html").read_text(encoding="utf-8")
    assert 'src="data:256"' in page
    assert 'src="data:64"' not in page


def test_after_a_kill_and_beside_another_call(root, mistake):
    left = root / "out" / ".next_cases-killed" / "drafts"
    left.mkdir(parents=True)
    (left / "a.nii.gz").write_text("predicted")
    with lock_holder(root / "out"):
        assert mistake(words(root, "--random")).startswith(f"{root / 'out'}: expected nobody at work there, found")
    assert left.exists()
    assert main(words(root, "--random")) == 0
    assert not list((root / "out").glob(".*"))


def test_a_zip_file(root):
    assert main(words(root)) == 0
    expected = table(root)
    file = shutil.make_archive(str(root / "model"), "zip", root / "results")
    assert main(words(root, model=file)) == 0
    assert table(root) == expected


def test_a_corrected_draft_is_noticed_before_anything_is_predicted(root, mistake, monkeypatch):
    assert main(words(root, "-k", "1")) == 0
    (draft,) = (root / "out" / "labelsTr").iterdir()
    draft.write_bytes(b"truth")
    monkeypatch.setattr("nnunet_ext.next_cases.search.Search.suspicious", None)
    assert mistake(words(root)).startswith(f"{draft}: expected the file as it was written, found it changed.")
    assert draft.read_bytes() == b"truth"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["none", "images"], "none: expected a trained model, found none. Give its folder or its zip file."),
        ([MODEL, "none"], "IMAGES: expected a folder, found none at none. See nnunet_ext next_cases --help"),
        ([MODEL, "raw"], "raw: expected images named CASE_0000.nii.gz, found 1 other files, such as "),
        ([MODEL, "images", "-k", "0"], "-k: expected a number from 1 up, got 0. See"),
        ([MODEL, "images", "-f", "7"], f"{MODEL}/fold_7/checkpoint_final.pth: expected the checkpoint of fold 7"),
        ([MODEL, "images", "-step_size", "2"], "-step_size: expected a number above 0 and at most 1, got '2'."),
        ([MODEL, "images", "--annotated", "x"], "--annotated: expected a folder, found none at x."),
        ([MODEL, "images", "-o", "images"], "-o images: expected another folder than that of the images, got images"),
        ([MODEL, "images", "--annotated", "images"], "images: expected images to choose from, found 4 that are anno"),
    ],
)
def test_mistakes(root, mistake, monkeypatch, arguments, text):
    monkeypatch.chdir(root)
    given = ["next_cases", *arguments, "-device", "cpu"] + ([] if "-o" in arguments else ["-o", "out"])
    assert mistake(given).startswith(text)
    assert not list(root.rglob("next_cases.*"))
    assert not list(root.rglob(".next_cases-*"))
