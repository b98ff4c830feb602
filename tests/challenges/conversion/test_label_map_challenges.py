"""KiPA22 and BTCV: pairs of images and label maps."""

from __future__ import annotations

from pathlib import Path

import pytest
from challenge_tree import paired_tree

from nnunet_ext.challenges.conversion.label_map_challenges import read_btcv, read_kipa22
from nnunet_ext.errors import UserError


@pytest.mark.parametrize("above", ["", "train"])
def test_kipa(tmp_path: Path, above: str) -> None:
    root = paired_tree(tmp_path / "train", "image/{}.nii.gz", "label/{}.nii.gz", ["10", "0", "9"], 4)
    (root / "image" / "readme.txt").touch()
    conversion = read_kipa22(tmp_path / above)
    assert [case.name for case in conversion.cases] == ["kipa_000", "kipa_009", "kipa_010"]
    assert conversion.cases[2].files() == (root / "image" / "10.nii.gz", root / "label" / "10.nii.gz")
    description = conversion.description()
    assert description["labels"] == {"background": 0, "vein": 1, "kidney": 2, "artery": 3, "tumor": 4}
    assert description["channel_names"] == {"0": "CTA"}
    assert description["challenge"]["values"] == {"vein": 1, "kidney": 2, "artery": 3, "tumor": 4}


@pytest.mark.parametrize("above", ["", "RawData", "RawData/Training"])
@pytest.mark.parametrize("test", ["Test", "Testing"])
def test_btcv(tmp_path: Path, above: str, test: str) -> None:
    root = paired_tree(
        tmp_path / "RawData" / "Training", "img/img{}.nii.gz", "label/label{}.nii.gz", ["0021", "0001"], 13
    )
    paired_tree(tmp_path / "RawData" / test, "img/img{}.nii.gz", "unused/{}.nii.gz", ["0061"], 1)
    conversion = read_btcv(tmp_path / above)
    assert [case.name for case in conversion.cases] == ["btcv_0001", "btcv_0021"]
    assert conversion.cases[1].label == root / "label" / "label0021.nii.gz"
    assert [(case.name, case.label) for case in conversion.test_cases] == [("btcv_0061", None)]
    labels = conversion.description()["labels"]
    assert (len(labels), labels["spleen"], labels["liver"], labels["left_adrenal_gland"]) == (14, 1, 6, 13)


def test_one_without_the_other(tmp_path: Path) -> None:
    paired_tree(tmp_path, "img/img{}.nii.gz", "label/label{}.nii.gz", ["0001", "0002", "0003"], 13)
    (tmp_path / "img" / "img0003.nii.gz").unlink()
    (tmp_path / "label" / "label0001.nii.gz").unlink()
    with pytest.raises(UserError, match=r"found no label/label0001\.nii\.gz, img/img0003\.nii\.gz\. Add them"):
        read_btcv(tmp_path)


def test_no_image_at_all(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    with pytest.raises(UserError, match=r"found no image/0001\.nii\.gz \(nor any other image\)"):
        read_kipa22(tmp_path)


def test_two_images_of_one_case(tmp_path: Path) -> None:
    paired_tree(tmp_path / "kipa" / "train", "image/{}.nii.gz", "label/{}.nii.gz", ["7", "07"], 4)
    with pytest.raises(
        UserError, match=r"image/0?7\.nii\.gz: expected one image for case kipa_007, found .*Remove one"
    ):
        read_kipa22(tmp_path / "kipa")
    paired_tree(tmp_path / "Training", "img/img{}.nii.gz", "label/label{}.nii.gz", ["0001"], 13)
    for folder in ("Testing", "Test"):
        paired_tree(tmp_path / folder, "img/img{}.nii.gz", "other/{}.nii.gz", ["0061"], 1)
    with pytest.raises(UserError, match=r"Test/img/img0061.*one image for case btcv_0061, found .*Testing/img"):
        read_btcv(tmp_path)
