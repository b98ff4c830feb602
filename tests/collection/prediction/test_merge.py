"""Merging label maps by priority."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_ext.collection.prediction.merge import Merge
from nnunet_ext.errors import UserError
from nnunet_ext.phantoms.dataset import write_nifti

pytestmark = pytest.mark.smoke

DESCRIPTIONS = {
    "liver": {"labels": {"background": 0, "liver": 1, "tumour": 2, "ignore": 3}},
    "spleen": {"labels": {"background": 0, "spleen": 1}},
    "brain": {"labels": {"background": [0], "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}},
}


def names(*words: str) -> list[str]:
    return [label.name for label in Merge.parse(words, DESCRIPTIONS).labels]


def test_order():
    assert names("liver:tumour", "spleen", "liver:liver") == ["liver:tumour", "spleen:spleen", "liver:liver"]
    assert names("liver", "spleen") == ["liver:liver", "liver:tumour", "spleen:spleen"]


def test_a_label_of_its_own_is_left_out_of_the_whole_task():
    assert names("liver:tumour", "spleen", "liver") == ["liver:tumour", "spleen:spleen", "liver:liver"]
    assert names("liver", "spleen", "liver:liver") == ["liver:tumour", "spleen:spleen", "liver:liver"]


def test_inner_regions_come_before_outer_ones():
    assert names("brain") == ["brain:enhancing", "brain:core", "brain:whole"]


def test_the_highest_priority_wins():
    maps = {"liver": np.array([0, 1, 2, 2, 1, 0]), "spleen": np.array([0, 1, 1, 0, 0, 1])}
    merge = Merge.parse(["liver:tumour", "spleen", "liver:liver"], DESCRIPTIONS)
    np.testing.assert_array_equal(merge.apply(maps), [0, 2, 1, 1, 3, 2])
    merge = Merge.parse(["spleen", "liver"], DESCRIPTIONS)
    np.testing.assert_array_equal(merge.apply(maps), [0, 1, 1, 3, 2, 1])
    assert merge.apply(maps).dtype == np.uint8


def test_regions_are_unions_of_values():
    maps = {"brain": np.array([0, 1, 2, 3, 0]), "spleen": np.array([0, 1, 0, 1, 1])}
    merge = Merge.parse(["brain:core", "spleen", "brain:whole"], DESCRIPTIONS)
    np.testing.assert_array_equal(merge.apply(maps), [0, 2, 1, 1, 2])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["livre"], "--merge livre: expected a task that is predicted. Did you mean 'liver'?"),
        (["liver:tumor"], "unknown label 'tumor' of task 'liver'. Did you mean 'tumour'? Legal: liver, tumour."),
        (["liver:ignore"], "unknown label 'ignore' of task 'liver'"),
        (["liver:background"], "unknown label 'background' of task 'liver'"),
        (["spleen", "spleen"], "--merge spleen: expected each label once, got 'spleen' again"),
        (["liver:tumour", "liver:tumour"], "expected each label once, got 'liver:tumour' again"),
        (["liver:tumour", "liver:liver", "liver"], "--merge liver: expected each label once, got 'liver' again"),
    ],
)
def test_mistakes(words, text):
    with pytest.raises(UserError) as error:
        Merge.parse(words, DESCRIPTIONS)
    assert text in str(error.value)


def test_a_task_named_as_the_folder():
    with pytest.raises(UserError, match="expected no task named 'merged'"):
        Merge.parse(["merged"], {"merged": DESCRIPTIONS["spleen"]})


def test_files(tmp_path):
    liver, spleen = np.zeros((4, 5, 6), np.uint8), np.zeros((4, 5, 6), np.uint8)
    liver[1, 2, 3], liver[0, 4, 5], spleen[1, 2, 3], spleen[3, 0, 1] = 2, 1, 1, 1
    for task, label_map in (("liver", liver), ("spleen", spleen)):
        (tmp_path / task).mkdir()
        write_nifti(tmp_path / task / "case.nii.gz", label_map, (2.5, 1.0, 0.5))
    merge = Merge.parse(["spleen", "liver"], DESCRIPTIONS)
    merge.write(tmp_path, ["case"], ".nii.gz", SimpleITKIO())
    merged, properties = SimpleITKIO().read_seg(str(tmp_path / "merged" / "case.nii.gz"))
    expected = np.zeros((1, 4, 5, 6), np.uint8)
    expected[0, 1, 2, 3], expected[0, 0, 4, 5], expected[0, 3, 0, 1] = 1, 2, 1
    np.testing.assert_array_equal(merged, expected)
    assert properties["spacing"] == [2.5, 1.0, 0.5]
    description = json.loads((tmp_path / "merged" / "dataset.json").read_text())
    labels = {"background": 0, "spleen:spleen": 1, "liver:liver": 2, "liver:tumour": 3}
    assert description == {"labels": labels, "file_ending": ".nii.gz"}


def test_a_merged_map_that_is_half_written(tmp_path, monkeypatch):
    """The older one stays."""
    for task in ("liver", "spleen"):
        (tmp_path / task).mkdir()
        write_nifti(tmp_path / task / "case.nii.gz", np.zeros((4, 5, 6), np.uint8), (1.0, 1.0, 1.0))
    merge = Merge.parse(["spleen", "liver"], DESCRIPTIONS)
    merge.write(tmp_path, ["case"], ".nii.gz", SimpleITKIO())
    before = (tmp_path / "merged" / "case.nii.gz").read_bytes()

    def half(self, labels, file, properties):
        Path(file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(SimpleITKIO, "write_seg", half)
    with pytest.raises(KeyboardInterrupt):
        merge.write(tmp_path, ["case"], ".nii.gz", SimpleITKIO())
    assert (tmp_path / "merged" / "case.nii.gz").read_bytes() == before
    assert len(list((tmp_path / "merged").iterdir())) == 2
