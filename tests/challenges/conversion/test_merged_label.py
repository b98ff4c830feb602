"""Masks of a case as one label map."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from challenge_tree import OBLIQUE, SHAPE, box, ct, write_volume

from nnunet_ext.challenges.conversion.merged_label import MergedLabel
from nnunet_ext.challenges.conversion.partition import Partition

PARTS = Partition((frozenset({"eye"}), frozenset({"eye", "lens"})), ("lens", "eye"))


def label_in(folder: Path) -> MergedLabel:
    image = write_volume(folder / "image.nii.gz", ct(SHAPE), OBLIQUE)
    eye = write_volume(folder / "eye.nii.gz", box(SHAPE, (0, 4), (1, 3), (0, 2)) * 255, OBLIQUE)
    lens = write_volume(folder / "lens.nii.gz", box(SHAPE, (3, 5), (1, 3), (0, 1)), OBLIQUE)
    return MergedLabel(image, {"eye": eye, "lens": lens}, PARTS)


def test_labels_and_record(tmp_path: Path) -> None:
    made = label_in(tmp_path).make()
    expected = np.zeros(SHAPE, int)
    expected[0:4, 1:3, 0:2] = 1
    expected[3:5, 1:3, 0:1] = 2
    assert np.array_equal(made.labels.T, expected)
    assert made.record == {"voxels": {"eye": 16, "lens": 4}, "lost": {}, "gained": {"eye": 2}}


def test_combinations(tmp_path: Path) -> None:
    found = label_in(tmp_path).combinations()
    assert found == {frozenset({"eye"}): 14, frozenset({"eye", "lens"}): 2, frozenset({"lens"}): 2}


def test_the_rule_is_that_of_the_partition(tmp_path: Path) -> None:
    label = label_in(tmp_path)
    assert label.rule == replace(label, masks={}).rule
    assert label.rule != replace(label, partition=Partition(PARTS.combinations[::-1], PARTS.precedence)).rule
    assert label.rule != replace(label, partition=Partition(PARTS.combinations, PARTS.precedence[::-1])).rule
