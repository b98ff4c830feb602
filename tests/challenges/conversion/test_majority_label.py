"""The majority of annotators, by hand, and against the challenge's own label maps where real ones are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from challenge_tree import KITS, KITS_SHAPE, box, kits_majority, kits_tree, write_volume

from nnunet_ext.challenges.conversion.majority_label import MajorityLabel, majority
from nnunet_ext.errors import UserError


@pytest.mark.parametrize("folder", ["segmentations", "instances"])
def test_three_annotators_one_of_whom_drew_the_cyst(tmp_path: Path, folder: str) -> None:
    case = kits_tree(tmp_path, [7], folder=folder) / "case_00007"
    label = MajorityLabel.find(case)
    assert label is not None
    assert len(label.files) == 7  # without the two .suppl. files
    made = label.make()
    assert np.array_equal(made.labels.T, kits_majority())
    assert made.labels.dtype == np.uint8
    assert made.record == {"instances_by_annotations": {"1": 1, "3": 2}}


@pytest.mark.parametrize(("votes", "wins"), [("1", True), ("10", False), ("11", True), ("110", True), ("100", False)])
def test_more_than_half(tmp_path: Path, votes: str, wins: bool) -> None:
    files = [
        write_volume(tmp_path / f"{n}.nii.gz", np.full((1, 2, 3), int(vote), np.float64), KITS)
        for n, vote in enumerate(votes)
    ]
    assert majority(files).all() == wins


def test_several_instances_of_a_kind(tmp_path: Path) -> None:
    for instance, sides in ((1, (0, 2)), (2, (4, 6)), (10, (5, 6))):
        mask = box(KITS_SHAPE, sides, (0, 3), (0, 3), dtype=np.float64)
        write_volume(tmp_path / "instances" / f"kidney_instance-{instance}_annotation-1.nii.gz", mask, KITS)
    label = MajorityLabel.find(tmp_path)
    assert label is not None
    assert np.array_equal(np.flatnonzero(label.make().labels.any((0, 1))), [0, 1, 4, 5])


def test_without_annotations(tmp_path: Path) -> None:
    assert MajorityLabel.find(tmp_path) is None
    write_volume(tmp_path / "instances" / ".suppl.tumor_instance-1_annotation-1.nii.gz", np.ones(KITS_SHAPE), KITS)
    assert MajorityLabel.find(tmp_path) is None


def test_a_file_that_is_no_mask(tmp_path: Path) -> None:
    case = kits_tree(tmp_path, [0]) / "case_00000"
    write_volume(case / "segmentations" / "cyst_instance-1_annotation-1.nii.gz", kits_majority(), KITS)
    label = MajorityLabel.find(case)
    assert label is not None
    with pytest.raises(UserError, match="cyst_instance-1_annotation-1"):
        label.make()
