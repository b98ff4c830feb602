"""Which images count as annotated."""

from __future__ import annotations

import json

import pytest
from small_model import phantom, write_image, write_small_model

from nnunet_ext.data.image_case import Case
from nnunet_ext.errors import UserError
from nnunet_ext.next_cases.annotated import annotated_cases, not_among
from nnunet_ext.quality.model_files import ModelFiles

NAME = "Dataset901_Phantom"


@pytest.fixture
def model(tmp_path, monkeypatch) -> ModelFiles:
    folder = write_small_model(tmp_path / "results")
    raw = tmp_path / "raw"
    monkeypatch.setenv("nnUNet_raw", str(raw))
    for name in "ab":
        write_image(raw / NAME / "imagesTr" / f"{name}_0000.nii.gz", phantom((8, 16, 12))[0], (2.0, 1.0, 1.0))
    write_image(raw / NAME / "labelsTr" / "a.nii.gz", phantom((8, 16, 12))[0], (2.0, 1.0, 1.0))
    (raw / NAME / "dataset.json").write_text((folder / "dataset.json").read_text())
    return ModelFiles.read(folder)


def test_training_cases_with_a_label(model):
    assert [case.name for case in annotated_cases(model, None)] == ["a"]


def test_a_folder(model, tmp_path):
    assert [case.name for case in annotated_cases(model, tmp_path / "raw" / NAME / "imagesTr")] == ["a", "b"]
    with pytest.raises(UserError, match=r"labelsTr: expected a name like CASE_0000\.nii\.gz|labelsTr/a\.nii\.gz: expe"):
        annotated_cases(model, tmp_path / "raw" / NAME / "labelsTr")


@pytest.mark.parametrize("missing", ["variable", "dataset"])
def test_no_training_cases(model, tmp_path, monkeypatch, caplog, missing):
    if missing == "variable":
        monkeypatch.delenv("nnUNet_raw")
    else:
        (tmp_path / "raw" / NAME).rename(tmp_path / "raw" / "Dataset902_Other")
    assert annotated_cases(model, None) == []
    assert caplog.messages == [
        f"no training images of {NAME} were found in nnUNet_raw: images like them can be chosen; name annotated images "
        "with --annotated"
    ]


def test_a_broken_dataset_is_only_told(model, tmp_path, caplog):
    (tmp_path / "raw" / NAME / "dataset.json").write_text(json.dumps({}))
    assert annotated_cases(model, None) == []
    (line,) = caplog.messages
    assert line.startswith("training images are left out, so that images like them can be chosen: ")
    assert "expected the keys channel_names" in line


def test_the_same_files_by_another_path(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}_0000.nii.gz").touch()
    (tmp_path / "b_0000.nii.gz").write_text("b")
    (tmp_path / "linked_0000.nii.gz").symlink_to(tmp_path / "a_0000.nii.gz")
    a, b, linked = (Case(name, (tmp_path / f"{name}_0000.nii.gz",)) for name in ("a", "b", "linked"))
    assert not_among([a, b], [linked]) == [b]
    assert not_among([linked, b], [a]) == [b]
    assert not_among([a, b], []) == [a, b]


def test_the_same_name(tmp_path):
    for folder, content in (("one", "image"), ("copy", "image"), ("other", "changed")):
        (tmp_path / folder).mkdir()
        for channel in range(2):
            (tmp_path / folder / f"a_{channel:04d}.nii.gz").write_text(content if channel else "channel 0")
    one, copy, other = (Case("a", tuple(sorted((tmp_path / folder).iterdir()))) for folder in ("one", "copy", "other"))
    assert not_among([copy], [one]) == []
    with pytest.raises(
        UserError, match=r"other/a_0000\.nii\.gz: expected a name that no annotated image has, found that"
    ):
        not_among([other], [one])
    gone = Case("a", (tmp_path / "gone_0000.nii.gz",))
    with pytest.raises(UserError, match=r"found that of .*gone_0000"):
        not_among([one], [gone])
