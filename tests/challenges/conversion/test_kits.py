"""KiTS: which cases, which labels, which regions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from challenge_tree import kits_tree
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_ext.challenges.conversion.kits import read_kits
from nnunet_ext.challenges.conversion.majority_label import MajorityLabel
from nnunet_ext.errors import UserError


def test_dataset_json(tmp_path: Path) -> None:
    kits_tree(tmp_path / "kits21" / "data")
    conversion = read_kits(tmp_path, 2021)
    assert conversion.description() == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "kidney_and_mass": [1, 2, 3], "mass": [2, 3], "tumor": [2]},
        "regions_class_order": [1, 3, 2],
        "numTraining": 2,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIOWithReorient",
        "challenge": {
            "name": "kits21",
            "channels": ["CT"],
            "structures": {"kidney": [1], "tumor": [2], "cyst": [3]},
            "values": {"kidney": 1, "tumor": 2, "cyst": 3},
        },
    }
    assert conversion.of_challenge == 300


def test_regions_give_back_the_labels() -> None:
    """What nnU-Net writes for the regions that a kidney, a tumor and a cyst are in."""
    import torch

    labels = {"background": 0, "kidney_and_mass": [1, 2, 3], "mass": [2, 3], "tumor": [2]}
    manager = LabelManager(labels, regions_class_order=[1, 3, 2])
    regions = torch.tensor([[1.0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 0]])[:, None, None]
    assert manager.convert_probabilities_to_segmentation(regions).flatten().tolist() == [1, 2, 3, 0]


def test_2021_takes_its_own_cases(tmp_path: Path) -> None:
    kits_tree(tmp_path / "dataset", [299, 400], folder="instances")
    assert [case.name for case in read_kits(tmp_path, 2021).cases] == ["case_00299"]
    assert [case.name for case in read_kits(tmp_path, 2023).cases] == ["case_00299", "case_00400"]
    shutil.rmtree(tmp_path / "dataset" / "case_00299")
    with pytest.raises(UserError, match=r"found no case_00000 \(nor any other of KiTS21"):
        read_kits(tmp_path, 2021)


@pytest.mark.parametrize("folder", ["segmentations", "instances"])
def test_the_aggregated_label_if_it_is_there(tmp_path: Path, folder: str) -> None:
    kits_tree(tmp_path, [0, 1], folder=folder)
    ready = tmp_path / "case_00001" / {"segmentations": "aggregated_MAJ_seg.nii.gz"}.get(folder, "segmentation.nii.gz")
    ready.unlink()
    first, second = read_kits(tmp_path, 2021).cases
    assert first.label == tmp_path / "case_00000" / ready.name
    assert isinstance(second.label, MajorityLabel)


@pytest.mark.parametrize("place", ["images", "data/images"])
def test_images_in_a_folder_of_their_own(tmp_path: Path, place: str) -> None:
    kits_tree(tmp_path / "data", [3])
    (tmp_path / place).mkdir()
    image = (tmp_path / "data" / "case_00003" / "imaging.nii.gz").rename(tmp_path / place / "case_00003.nii.gz")
    assert read_kits(tmp_path, 2023).cases[0].images == (image,)


def test_samples_of_the_annotations(tmp_path: Path) -> None:
    kits_tree(tmp_path, [0, 1])
    for number in (0, 1):
        (tmp_path / f"case_{number:05d}" / "segmentations" / "cyst_instance-1_annotation-1.nii.gz").unlink()
    conversion = read_kits(tmp_path, 2021, 3)
    assert conversion.description()["raters"] == "exchangeable"
    first, _ = conversion.cases
    assert [*first.raters] == ["sample_01", "sample_02", "sample_03"]
    drawn = [[file.name[:-7] for file in recipe.files] for recipe in first.raters.values()]
    # the first group of case 0: kidneys from annotation 1 on, tumors from 2 on
    assert drawn == [
        ["kidney_instance-1_annotation-1", "tumor_instance-1_annotation-2"],
        ["kidney_instance-1_annotation-2", "tumor_instance-1_annotation-3"],
        ["kidney_instance-1_annotation-3", "tumor_instance-1_annotation-1"],
    ]
    labels = first.raters["sample_02"].make().labels.T
    assert (labels[4, 8, 1:9] == [1, 1, 1, 1, 1, 1, 1, 0]).all()  # the kidney of annotation 2 ends at column 8
    assert labels[2, 3, 4] == 2  # the tumor of annotation 3
    assert len(read_kits(tmp_path, 2021, 15).cases[0].raters) == 15
    assert "raters" not in read_kits(tmp_path, 2021).description()


def test_samples_without_annotations(tmp_path: Path) -> None:
    kits_tree(tmp_path, [0, 1])
    shutil.rmtree(tmp_path / "case_00001" / "segmentations")
    kits_tree(tmp_path, [1], folder="instances")
    aggregated = tmp_path / "case_00001" / "segmentation.nii.gz"
    shutil.rmtree(tmp_path / "case_00001" / "instances")
    assert aggregated.is_file()
    (tmp_path / "case_00001" / "segmentations").mkdir()
    assert [len(case.raters) for case in read_kits(tmp_path, 2021, 2).cases] == [2, 0]
    shutil.rmtree(tmp_path / "case_00000")
    with pytest.raises(UserError, match=r"--raters: expected files such as .*found none. Add them, or leave"):
        read_kits(tmp_path, 2021, 2)


def test_all_that_is_missing(tmp_path: Path) -> None:
    kits_tree(tmp_path, [0, 1, 2], aggregated=False)
    (tmp_path / "case_00000" / "imaging.nii.gz").unlink()
    shutil.rmtree(tmp_path / "case_00002" / "segmentations")
    with pytest.raises(UserError) as error:
        read_kits(tmp_path, 2021)
    assert str(error.value) == (
        f"{tmp_path}: expected the files of every case, found no case_00000/imaging.nii.gz, "
        f"case_00002/aggregated_MAJ_seg.nii.gz (nor annotations in segmentations or instances). Add them, or remove "
        f"the incomplete cases."
    )


def test_folders_of_other_names_are_ignored(tmp_path: Path) -> None:
    kits_tree(tmp_path, [0])
    for name in ("case_00000_backup", "old_case_00000", "case_000001"):
        (tmp_path / name).mkdir()
    assert [case.name for case in read_kits(tmp_path, 2021).cases] == ["case_00000"]
