"""SegRap2023: channels and their normalization, missing contrasts and organs, folds by patient."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from challenge_tree import segrap_tree
from nnunetv2.preprocessing.normalization.map_channel_name_to_normalization import get_normalization_scheme

from nnunet_ext.challenges.conversion.segrap import patient_folds, read_segrap_gtv, read_segrap_oar
from nnunet_ext.challenges.segrap2023 import ORGANS, TUMORS
from nnunet_ext.errors import UserError


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases with all organs and tumors."""
    root = tmp_path_factory.mktemp("segrap")
    segrap_tree(root / "SegRap2023_Training_Set_120cases", (*ORGANS, *TUMORS))
    return root


@pytest.mark.parametrize(("normalization", "scheme"), [("ct", "CTNormalization"), ("zscore", "ZScoreNormalization")])
def test_normalization(tree: Path, normalization: str, scheme: str) -> None:
    names = read_segrap_oar(tree, normalization=normalization).channel_names
    assert [get_normalization_scheme(name).__name__ for name in names] == [scheme, scheme]


def test_organs(tree: Path) -> None:
    conversion = read_segrap_oar(tree)
    description = conversion.description()
    assert description["labels"]["background"] == 0
    assert list(description["labels"].values()) == list(range(55))
    assert description["labels"]["Larynx-PharynxConst"] == 51
    assert description["challenge"]["structures"] == {name: list(labels) for name, labels in ORGANS.items()}
    assert list(description["challenge"]["structures"]) == list(ORGANS)
    assert description["challenge"]["channels"] == ["non_contrast", "contrast"]
    assert [image.name for image in conversion.cases[0].images] == ["image.nii.gz", "image_contrast.nii.gz"]
    assert conversion.folds == patient_folds(["segrap_0000", "segrap_0001"])


def test_tumors(tree: Path) -> None:
    conversion = read_segrap_gtv(tree / "SegRap2023_Training_Set_120cases", ("contrast",), "zscore")
    assert conversion.description()["labels"] == {"background": 0, "GTVp": 1, "GTVnd": 2}
    assert conversion.channel_names == ("contrast_CT",)
    assert conversion.record.channels == ("contrast",)
    assert [len(case.images) for case in conversion.cases] == [1, 1]
    assert conversion.folds == patient_folds(["segrap_0000", "segrap_0001"])


def test_one_contrast_missing(tmp_path: Path) -> None:
    segrap_tree(tmp_path, tuple(TUMORS))
    (tmp_path / "segrap_0001" / "image_contrast.nii.gz").unlink()
    (tmp_path / "segrap_0000" / "GTVnd.nii.gz").unlink()
    with pytest.raises(
        UserError, match=r"found no segrap_0000/GTVnd\.nii\.gz, segrap_0001/image_contrast\.nii\.gz\. A"
    ):
        read_segrap_gtv(tmp_path)
    with pytest.raises(UserError, match=r"found no segrap_0000/GTVnd\.nii\.gz\. Add it"):
        read_segrap_gtv(tmp_path, ("non_contrast",))


def test_cases_of_a_patient_share_a_fold() -> None:
    cases = [f"segrap_{patient:04d}{part}" for patient in range(12) for part in ("", "_b")]
    folds = patient_folds(cases)
    assert len(folds) == 5
    for fold in folds:
        assert sorted(fold["train"] + fold["val"]) == cases
        for key in ("train", "val"):
            assert {f"{case[:11]}_b" for case in fold[key]} <= set(fold[key])
    assert sorted(case for fold in folds for case in fold["val"]) == cases


def test_files_beside_the_folders(tmp_path: Path) -> None:
    segrap_tree(tmp_path, tuple(TUMORS), ["segrap_0000"])
    (tmp_path / "segrap_0000_labels.zip").touch()
    assert [case.name for case in read_segrap_gtv(tmp_path).cases] == ["segrap_0000"]
    shutil.rmtree(tmp_path / "segrap_0000")
    with pytest.raises(UserError, match=r"found no segrap_0000 \(nor any other folder\)"):
        read_segrap_gtv(tmp_path)
