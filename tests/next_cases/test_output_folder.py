"""What an annotator made is never replaced."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from nnunet_ext.data.image_case import Case
from nnunet_ext.errors import UserError
from nnunet_ext.next_cases import output_folder
from nnunet_ext.next_cases.output_folder import OutputFolder

TEXTS = {"next_cases.csv": "table", "next_cases.html": "page"}


def cases(tmp_path, names: str, ending: str = ".nii.gz") -> list[Case]:
    made = []
    for folder in ("images", "drafts"):
        (tmp_path / folder).mkdir(exist_ok=True)
    for name in names:
        files = tuple(tmp_path / "images" / f"{name}_{channel:04d}{ending}" for channel in range(2))
        for file in files:
            file.write_text(f"image {file.name}")
        (tmp_path / "drafts" / f"{name}{ending}").write_text(f"draft {name}")
        made.append(Case(name, files))
    return made


def content(folder) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in sorted(folder.rglob("*")) if file.is_file()}


def write(tmp_path, names: str, texts=TEXTS, ending: str = ".nii.gz") -> OutputFolder:
    made = OutputFolder(tmp_path / "out", ending)
    (tmp_path / "out").mkdir(exist_ok=True)
    made.write(cases(tmp_path, names, ending), tmp_path / "drafts", texts)
    return made


def test_what_is_written(tmp_path):
    write(tmp_path, "ba").check()
    found = content(tmp_path / "out")
    assert set(json.loads(found.pop("next_cases.json"))["files"]) == set(found)
    told = found.pop("README.txt")
    assert "chosen by nnunet_ext next_cases: b, a." in told
    assert "They are not truth." in told
    assert found == TEXTS | {
        "labelsTr/a.nii.gz": "draft a",
        "labelsTr/b.nii.gz": "draft b",
        **{f"imagesTr/{name}_000{n}.nii.gz": f"image {name}_000{n}.nii.gz" for name in "ab" for n in range(2)},
    }
    assert (tmp_path / "out" / "imagesTr" / "a_0001.nii.gz").is_symlink()


def test_a_second_call_replaces_its_own_output_and_nothing_else(tmp_path):
    write(tmp_path, "ab")
    (tmp_path / "out" / "notes.txt").write_text("of a person")
    write(tmp_path, "bc", {"next_cases.csv": "other"})
    found = content(tmp_path / "out")
    assert sorted(found) == [
        "README.txt",
        *(f"imagesTr/{name}_000{n}.nii.gz" for name in "bc" for n in range(2)),
        "labelsTr/b.nii.gz",
        "labelsTr/c.nii.gz",
        "next_cases.csv",
        "next_cases.json",
        "notes.txt",
    ]
    assert found["next_cases.csv"] == "other"


def test_a_corrected_draft_is_not_lost(tmp_path):
    made = write(tmp_path, "ab")
    draft = tmp_path / "out" / "labelsTr" / "a.nii.gz"
    draft.write_text("truth a")
    before = content(tmp_path / "out")
    line = re.escape(f"{draft}: expected the file as it was written, found it changed. Choose another -o, so that")
    with pytest.raises(UserError, match=line):
        made.check()
    with pytest.raises(UserError, match=line):
        write(tmp_path, "c")
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize("name", ["next_cases.csv", "next_cases.html", "README.txt", "imagesTr/a_0000.nii.gz"])
def test_what_a_person_changed_is_not_lost(tmp_path, name):
    made = write(tmp_path, "ab")
    file = tmp_path / "out" / name
    file.unlink()
    file.write_text("notes of a person")
    with pytest.raises(UserError, match=re.escape(f"{file}: expected the file as it was written, found it changed.")):
        made.check()
    (tmp_path / "images" / "a_0000.nii.gz").unlink()  # a link that leads nowhere can be replaced
    file.unlink()
    file.symlink_to(tmp_path / "images" / "a_0000.nii.gz")
    if file.parent.name == "imagesTr":
        made.check()


def test_copies_instead_of_links(tmp_path, monkeypatch):
    monkeypatch.setattr(output_folder, "link", shutil.copy2)
    write(tmp_path, "ab").check()
    write(tmp_path, "a").check()
    file = tmp_path / "out" / "imagesTr" / "a_0001.nii.gz"
    file.write_text("cropped")
    with pytest.raises(UserError, match=re.escape(f"{file}: expected the file as it was written, found it changed.")):
        write(tmp_path, "b")


@pytest.mark.parametrize("name", ["labelsTr", "imagesTr"])
def test_a_file_in_place_of_a_folder(tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("of a person")
    with pytest.raises(UserError, match=rf"{name}: expected a folder, found a file\. Choose another -o, or move it"):
        OutputFolder(tmp_path / "out", ".nii.gz").check()


def test_how_to_merge_replaces_nothing(tmp_path):
    write(tmp_path, "a")
    told = (tmp_path / "out" / "README.txt").read_text()
    assert "cp -n labelsTr/* DATASET/labelsTr/" in told
    assert "cp -nL imagesTr/* DATASET/imagesTr/" in told
    assert "splits_final.json" in told  # without the new cases there, nnU-Net does not train with them


@pytest.mark.parametrize(
    ("name", "earlier"),
    [
        ("labelsTr/x.nii.gz", False),
        ("labelsTr/x.nii.gz", True),
        ("imagesTr/x.nii.gz", False),
        ("imagesTr/x.nii.gz", True),
        ("next_cases.csv", False),
        ("README.txt", False),
    ],
)
def test_files_of_others(tmp_path, name, earlier):
    if earlier:
        write(tmp_path, "a")
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("of a person")
    with pytest.raises(
        UserError, match=re.escape(f"{file}: expected only what an earlier nnunet_ext next_cases wrote")
    ):
        OutputFolder(tmp_path / "out", ".nii.gz").check()


@pytest.mark.parametrize("text", ["{}", '{"files": 3}', '{"files": {"labelsTr/a.nii.gz": 3}}', '{"files": {"a": [1]}}'])
def test_a_record_of_something_else(tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "next_cases.json").write_text(text)
    with pytest.raises(
        UserError, match=r"next_cases\.json: expected the record of nnunet_ext next_cases, found another"
    ):
        OutputFolder(tmp_path / "out", ".nii.gz").check()


def test_after_a_kill_the_folder_can_be_used_again(tmp_path, monkeypatch):
    write(tmp_path, "ab")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(output_folder, "link", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, "bc")
    assert (tmp_path / "out" / "labelsTr" / "c.nii.gz").exists()
    write(tmp_path, "bd")
    assert sorted(file.name for file in (tmp_path / "out" / "labelsTr").iterdir()) == ["b.nii.gz", "d.nii.gz"]


def test_the_spacing_of_a_tif(tmp_path):
    (tmp_path / "drafts").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "drafts" / "a.json").write_text("spacing of the draft")
    (tmp_path / "images" / "a.json").write_text("spacing of the image")
    write(tmp_path, "a", ending=".tif").check()
    found = content(tmp_path / "out")
    assert found["labelsTr/a.json"] == "spacing of the draft"
    assert found["imagesTr/a.json"] == "spacing of the image"
