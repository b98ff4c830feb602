"""Names that break a file system or nnU-Net's own names are refused; all others are the user's business."""

import json
from pathlib import Path

import pytest

from nnunet_ext.data.case_names import LONGEST, check_case_names
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError


def case(name: str, ending: str = ".nii.gz") -> Case:
    return Case(name, (Path("imagesTr") / f"x_0000{ending}",))


@pytest.mark.parametrize("name", ["a", "A b", "a.b", "a_seg_b", "seg", "a_0000", "Öl", "a|b", "dataset", "x" * LONGEST])
def test_legal(name):
    check_case_names([case(name)])


@pytest.mark.parametrize(
    ("name", "ending", "text"),
    [
        ("p1_seg", ".nii.gz", "not ending in '_seg', because nnU-Net takes its data for the label of another"),
        ("a/b", ".nii.gz", "without '/', "),
        ("a\\b", ".nii.gz", "without '/', "),
        ("a\nb", ".nii.gz", "without '/', "),
        (".a", ".nii.gz", "not starting with '.'"),
        ("", ".nii.gz", "without '/', "),
        ("x" * (LONGEST + 1), ".nii.gz", "of at most 246 bytes"),
        ("ö" * 124, ".nii.gz", "of at most 246 bytes"),
        ("dataset", ".tif", "otherwise, because nnU-Net writes dataset.json itself"),
        ("plans", ".TIFF", "otherwise, because nnU-Net writes plans.json itself"),
    ],
)
def test_illegal(name, ending, text):
    with pytest.raises(UserError) as caught:
        check_case_names([case("a"), case(name, ending), case("p_seg")])
    assert text in str(caught.value)
    assert str(caught.value).endswith(f"got {name!r}. Rename it. (and 1 more case)")


@pytest.mark.parametrize("listed", [False, True])
def test_every_command_that_reads_a_dataset_sees_it(tmp_path, listed):
    """nnU-Net takes the data of ``p1_seg`` for the label of a case ``p1``, and never trains on it."""
    entry = {"images": ["imagesTr/a_0000.png"], "label": "labelsTr/a.png"}
    description = {"labels": {"background": 0, "a": 1}, "channel_names": {"0": "a"}, "numTraining": 1}
    description |= {"file_ending": ".png"} | ({"dataset": {"p1_seg": entry}} if listed else {})
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "p1_seg_0000.png").touch()
    with pytest.raises(UserError, match=r"expected a case named not ending in '_seg', .* got 'p1_seg'\. Rename it\."):
        RawDataset.read(tmp_path).cases()
