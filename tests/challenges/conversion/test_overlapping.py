"""Folders of masks: labels are the combinations that occur."""

from __future__ import annotations

from pathlib import Path

import pytest
from challenge_tree import OBLIQUE, SHAPE, box, ct, write_volume

from nnunet_ext.challenges.conversion.merged_label import MergedLabel
from nnunet_ext.challenges.conversion.overlapping import read_overlapping, with_labels
from nnunet_ext.errors import UserError


def case(root: Path, name: str, *structures: str, folder: str = "") -> Path:
    write_volume(root / name / "image.nii.gz", ct(SHAPE), OBLIQUE)
    for number, structure in enumerate(structures):
        mask = box(SHAPE, (number, number + 2), (0, 2), (0, 2))
        write_volume(root / name / folder / f"{structure}.nii.gz", mask, OBLIQUE)
    return root


def counted(conversion):
    return [each.label.combinations() for each in conversion.cases]


@pytest.mark.parametrize("folder", ["", "segmentations"])
def test_labels_of_what_occurs(tmp_path: Path, folder: str) -> None:
    root = case(tmp_path / "my masks", "p1", "liver", "vein", folder=folder)
    case(root, "p2", "liver", folder=folder)
    (root / "readme.txt").touch()
    (root / ".hidden").mkdir()
    conversion = read_overlapping(root, channel_names=["CT"], absent_is_empty=True)
    assert conversion.dataset == "my_masks"
    assert [each.name for each in conversion.cases] == ["p1", "p2"]
    done = with_labels(conversion, counted(conversion))
    # liver 8 voxels in each case, of which 4 are vein; the vein is the smaller one, so the last of a name
    assert done.description()["labels"] == {"background": 0, "liver": 1, "liver-vein": 2, "vein": 3}
    assert done.description()["channel_names"] == {"0": "CT"}
    assert done.record.structures == {"liver": (1, 2), "vein": (2, 3)}
    assert isinstance(done.cases[0].label, MergedLabel)
    assert done.cases[0].label.make().record == {"voxels": {"liver": 8, "vein": 8}, "lost": {}, "gained": {}}
    assert done.cases[1].label.make().labels.max() == 1


def test_rare_combinations_have_no_label(tmp_path: Path) -> None:
    root = case(tmp_path, "p1", "liver", "vein")
    conversion = read_overlapping(root, min_voxels=5, absent_is_empty=True)
    with pytest.raises(UserError, match="at least 5 voxels and at most 65535 combinations, found liver, vein"):
        with_labels(conversion, counted(conversion))
    done = with_labels(conversion, [{frozenset({"liver"}): 9, frozenset({"vein"}): 8, frozenset({"liver", "vein"}): 4}])
    assert done.description()["labels"] == {"background": 0, "liver": 1, "vein": 2}
    assert done.cases[0].label.make().record["lost"] == {"liver": 4}  # the larger one


def test_a_structure_without_a_file(tmp_path: Path) -> None:
    case(case(tmp_path, "p1", "liver", "vein"), "p2", "liver")
    with pytest.raises(UserError, match=r"found no p2/vein\.nii\.gz \(--absent_is_empty if there is no such"):
        read_overlapping(tmp_path)


def test_a_case_without_structures(tmp_path: Path) -> None:
    case(case(tmp_path, "p1", "liver"), "p2")
    conversion = read_overlapping(tmp_path, absent_is_empty=True)
    done = with_labels(conversion, counted(conversion))
    made = done.cases[1].label.make()
    assert (made.labels.shape, made.labels.max()) == (SHAPE[::-1], 0)


def test_several_channels(tmp_path: Path) -> None:
    root = case(tmp_path, "p1", "liver")
    write_volume(root / "p1" / "late.nii.gz", ct(SHAPE), OBLIQUE)
    conversion = read_overlapping(root, ["late.nii.gz", "image.nii.gz"])
    assert conversion.channel_names == ("late", "image")
    assert list(conversion.record.structures) == ["liver"]
    with pytest.raises(UserError, match=r"--channel_names: expected one for each of 2 images .*, got 1"):
        read_overlapping(root, ["late.nii.gz", "image.nii.gz"], ["CT"])
    with pytest.raises(UserError, match=r"--images a\.mha: expected names that end in \.nii\.gz"):
        read_overlapping(root, ["a.mha"])
    with pytest.raises(UserError, match=r"found no p1/none\.nii\.gz"):
        read_overlapping(root, ["none.nii.gz"])


@pytest.mark.parametrize("name", ["background", "Ignore", "left-lung"])
def test_names_that_cannot_be_labels(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"found {name}. Rename them"):
        read_overlapping(case(tmp_path, "p1", name))


def test_no_mask(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found no mask\. Put STRUCTURE\.nii\.gz beside the image"):
        read_overlapping(case(tmp_path, "p1"))
