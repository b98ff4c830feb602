"""Samples of what annotators drew: the seeding rule, the order of painting, and which files count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written_map import write_map

from nnunet_ext.challenges.case_masks import LabelMap
from nnunet_ext.challenges.kits21_samples import (
    annotations_of,
    instances_folder,
    sampled_annotations,
    sampled_label_maps,
)
from nnunet_ext.data.image_reader import find_reader
from nnunet_ext.errors import UserError

pytestmark = pytest.mark.smoke
SHAPE = (3, 4, 9)


def draw(case: Path, kind: str, number: int, annotation: int, *columns: int, origin: float = 0.0) -> Path:
    labels = np.zeros(SHAPE, np.float64)
    labels[1, 1, list(columns)] = 1
    folder = "segmentations" if not (case / "instances").is_dir() else "instances"
    file = case / folder / f"{kind}_instance-{number}_annotation-{annotation}.nii.gz"
    return write_map(file, labels, origin=(origin, 0, 0))


def painted(case: Path) -> list[list[int]]:
    reader = find_reader({"file_ending": ".nii.gz"}, annotations_of(case)[0].files[0])
    found = list(sampled_label_maps(case, reader))
    assert all(isinstance(each, LabelMap) for each in found)
    return [each.labels[1, 1].tolist() for each in found if isinstance(each, LabelMap)]


def test_the_offsets_are_those_of_the_case_number() -> None:
    """Drawn once from numpy's RandomState(123), whose stream never changes; three instances, five groups."""
    offsets = [(2, 1, 2), (2, 0, 2), (2, 1, 2), (1, 2, 1), (0, 1, 2)]
    expected = [tuple((each + sample) % 3 for each in group) for group in offsets for sample in range(3)]
    assert sampled_annotations(123, [3, 3, 3]) == expected
    assert len(expected) == 15


def test_an_instance_with_fewer_annotations_limits_the_samples() -> None:
    """Case 7, three and two annotations: two samples of each group, each around its own end."""
    groups = [[(0, 1), (1, 0)], [(2, 1), (0, 0)], [(0, 1), (1, 0)], [(2, 1), (0, 0)], [(0, 1), (1, 0)]]
    assert sampled_annotations(7, [3, 2]) == [sample for group in groups for sample in group]
    assert sampled_annotations(402, [1, 1]) == [(0, 0)] * 5


def test_no_annotation_comes_twice_in_a_group() -> None:
    samples = np.array(sampled_annotations(42, [3, 3, 3, 3])).reshape(5, 3, 4)
    assert (np.sort(samples, axis=1) == np.arange(3)[None, :, None]).all()


def test_instances_in_the_order_of_the_draw(tmp_path: Path) -> None:
    case = tmp_path / "case_00001"
    for kind, number in (("cyst", 1), ("kidney", 10), ("kidney", 2), ("tumor", 1)):
        draw(case, kind, number, 2, 1)
        draw(case, kind, number, 1, 1)
    write_map(case / "segmentations" / ".suppl.tumor_instance-1_annotation-3.nii.gz", np.zeros(SHAPE, np.uint8))
    write_map(case / "segmentations" / "tumor_instance-1_annotation-3.old.nii.gz", np.zeros(SHAPE, np.uint8))
    found = annotations_of(case)
    assert [(each.kind, each.number) for each in found] == [("kidney", 2), ("kidney", 10), ("tumor", 1), ("cyst", 1)]
    assert [file.name[-len("1.nii.gz") :] for file in found[2].files] == ["1.nii.gz", "2.nii.gz"]


def test_cysts_are_painted_over_kidneys_and_tumors_over_both(tmp_path: Path) -> None:
    case = tmp_path / "case_00000"
    draw(case, "kidney", 1, 1, 1, 2, 3, 4)
    draw(case, "tumor", 1, 1, 3, 4, 5)
    draw(case, "cyst", 1, 1, 2, 3, 6)
    assert painted(case) == [[0, 1, 3, 2, 2, 2, 3, 0, 0]] * 5


def test_the_chosen_annotation_is_painted(tmp_path: Path) -> None:
    """Case 123: the first group's offsets say which annotation of kidney and tumor comes first."""
    case = tmp_path / "case_00123"
    (case / "instances").mkdir(parents=True)
    for annotation in (1, 2, 3):
        draw(case, "kidney", 1, annotation, annotation)
        draw(case, "tumor", 1, annotation, 4 + annotation)
    assert instances_folder(case) == case / "instances"
    found = painted(case)
    for (kidney, tumor), row in zip(sampled_annotations(123, [3, 3]), found, strict=True):
        expected = [0] * 9
        expected[1 + kidney], expected[5 + tumor] = 1, 2
        assert row == expected


def test_an_annotation_may_be_empty(tmp_path: Path) -> None:
    case = tmp_path / "case_00000"
    draw(case, "kidney", 1, 1, 1)
    draw(case, "cyst", 1, 1)
    assert painted(case) == [[0, 1, 0, 0, 0, 0, 0, 0, 0]] * 5


def test_annotations_must_lie_on_one_grid(tmp_path: Path) -> None:
    case = tmp_path / "case_00000"
    draw(case, "kidney", 1, 1, 1)
    draw(case, "kidney", 2, 1, 1, origin=3.0)
    with pytest.raises(UserError, match=r"kidney_instance-2_annotation-1.*expected the voxel grid of .*another origin"):
        painted(case)


def test_a_case_without_instances(tmp_path: Path) -> None:
    (tmp_path / "case_00000" / "segmentations").mkdir(parents=True)
    with pytest.raises(UserError, match=r"expected files such as kidney_instance-1_annotation-1\.nii\.gz, found none"):
        annotations_of(tmp_path / "case_00000")
    assert instances_folder(tmp_path) is None
