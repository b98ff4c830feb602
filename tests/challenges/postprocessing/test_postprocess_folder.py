"""Label maps that are written: geometry, what a second call keeps, and what is refused."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from written_map import write_map

from nnunet_ext.challenges.own_dataset import own_dataset
from nnunet_ext.challenges.postprocessing.postprocess_folder import postprocess_folder
from nnunet_ext.challenges.postprocessing.rule import Rule
from nnunet_ext.challenges.postprocessing.rules_file import RulesFile
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import parse_metrics

DESCRIPTION = {"labels": {"background": 0, "a": 1, "b": 2}, "file_ending": ".nii.gz"}
CHALLENGE = own_dataset(DESCRIPTION, parse_metrics("dice"), count_both_empty=False)
RULES = RulesFile.of(CHALLENGE, (Rule("a", "largest", 1),), DESCRIPTION["labels"])


@pytest.fixture
def predicted(tmp_path: Path) -> Path:
    folder = tmp_path / "predicted"
    values = np.zeros((3, 4, 5), np.uint8)
    values[0, 0, :5] = [1, 0, 1, 1, 2]
    write_map(folder / "x.nii.gz", values, (3.0, 0.7, 0.8), (1.0, -2.0, 3.5))
    values[0, 0, 0] = 0
    write_map(folder / "y.nii.gz", values)
    (folder / "dataset.json").write_text(json.dumps(DESCRIPTION))
    (folder / "plans.json").write_text("{}")
    return folder


def test_labels_and_geometry(predicted: Path, tmp_path: Path) -> None:
    done = postprocess_folder(RULES, predicted, tmp_path / "out", show_progress=False)
    assert [(case.name, case.voxels) for case in done] == [("x", 1), ("y", 0)]
    before, after = (nibabel.load(folder / "x.nii.gz") for folder in (predicted, tmp_path / "out"))
    np.testing.assert_array_equal(after.affine, before.affine)
    assert np.asarray(after.dataobj)[:, 0, 0].tolist() == [0, 0, 1, 1, 2]
    assert np.asarray(after.dataobj)[:, 1:].sum() == np.asarray(before.dataobj)[:, 1:].sum() == 0
    found = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert found == ["dataset.json", "plans.json", "postprocessing.json", "x.nii.gz", "y.nii.gz"]


def test_the_reader_of_dataset_json(predicted: Path, tmp_path: Path) -> None:
    """SimpleITK's reader, which nnU-Net would choose by the first file, refuses the sheared axes of the second."""
    sheared = np.eye(4)
    sheared[0, 1] = 0.5
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 2, 2), np.uint8), sheared), predicted / "y.nii.gz")
    content = DESCRIPTION | {"overwrite_image_reader_writer": "NibabelIO"}
    (predicted / "dataset.json").write_text(json.dumps(content))
    postprocess_folder(RULES, predicted, tmp_path / "out", show_progress=False)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "out" / "y.nii.gz").affine, sheared)
    (predicted / "dataset.json").unlink()
    postprocess_folder(replace(RULES, reader="NibabelIO"), predicted, tmp_path / "other", show_progress=False)


def test_a_second_call_writes_what_is_missing_or_older(predicted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    postprocess_folder(RULES, predicted, out, show_progress=False)
    assert postprocess_folder(RULES, predicted, out, show_progress=False) == []
    (out / "x.nii.gz").unlink()
    later = (out / "y.nii.gz").stat().st_mtime + 5
    os.utime(predicted / "y.nii.gz", (later, later))
    done = postprocess_folder(RULES, predicted, out, show_progress=False)
    assert [case.name for case in done] == ["x", "y"]


def test_mistakes(predicted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    postprocess_folder(RULES, predicted, out, show_progress=False)
    with pytest.raises(UserError, match="expected the same rules and predictions"):
        postprocess_folder(replace(RULES, rules=()), predicted, out, show_progress=False)
    with pytest.raises(UserError, match="expected a new or empty folder"):
        postprocess_folder(RULES, predicted, predicted, show_progress=False)
    (predicted / "dataset.json").write_text(json.dumps(DESCRIPTION | {"labels": {"background": 0, "b": 1}}))
    with pytest.raises(UserError, match=r"dataset\.json: expected the labels that the rules"):
        postprocess_folder(RULES, predicted, tmp_path / "other", show_progress=False)
    assert not (tmp_path / "other").exists()
    (predicted / "dataset.json").unlink()
    write_map(predicted / "y.nii.gz", np.full((2, 2, 2), 3, np.uint8))
    with pytest.raises(UserError, match=r"y\.nii\.gz: expected labels 0, 1, 2, found 3"):
        postprocess_folder(RULES, predicted, tmp_path / "third", show_progress=False)
    with pytest.raises(UserError, match="expected label maps CASE"):
        postprocess_folder(RULES, tmp_path, tmp_path / "fourth", show_progress=False)
