"""The phantom collection: members that differ in all that a collection has to bear."""

import json

import nibabel
import numpy as np
import pytest
from nibabel.orientations import aff2axcodes

from nnunet_ext.data.dataset_check import check_dataset
from nnunet_ext.phantoms.collection import write_phantom_collection


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    folders = write_phantom_collection(tmp_path_factory.mktemp("raw"), cases=4, unseen=1, shape=(24, 26, 28))
    return {folder.name: folder for folder in folders}


def describe(folder):
    return json.loads((folder / "dataset.json").read_text())


def upright(file):
    """Return a file's array in the order R, A, S."""
    return np.asarray(nibabel.as_closest_canonical(nibabel.load(file)).dataobj)


def test_members_differ_in_channels_and_labels(members):
    described = {name: describe(folder) for name, folder in members.items()}
    assert {name: (list(d["channel_names"].values()), d["labels"]) for name, d in described.items()} == {
        "Dataset901_Organs": (["CT"], {"background": 0, "liver": 1, "kidney": 2}),
        "Dataset902_Lesion": (["CT", "PET"], {"background": 0, "lesion": 1}),
        "Dataset903_Tumour": (["T1", "T1 contrast", "T2", "FLAIR"], {"background": 0, "whole": [1, 2], "core": [2]}),
        "Dataset904_Lung": (["CT"], {"background": 0, "lung": 1, "ignore": 2}),
        "Dataset905_Kidney": (["T2"], {"background": 0, "kidney": 1}),
    }
    assert described["Dataset903_Tumour"]["regions_class_order"] == [1, 2]
    assert [d["numTraining"] for d in described.values()] == [4, 4, 4, 4, 3]


def test_nnunets_rules_are_kept(members):
    for folder in members.values():
        check_dataset(folder, show_progress=False)
        assert len(list((folder / "labelsTr").iterdir())) == describe(folder)["numTraining"]
        assert [file.name for file in (folder / "labelsTs").iterdir()] == ["unseen_000.nii.gz"]


def test_geometries_differ(members):
    found = {}
    for name, folder in members.items():
        image = nibabel.load(folder / "imagesTr" / "case_000_0000.nii.gz")
        spacing = [round(float(step), 3) for step in image.header.get_zooms()]
        found[name] = ("".join(aff2axcodes(image.affine)), spacing, list(image.shape))
        label = nibabel.load(folder / "labelsTr" / "case_000.nii.gz")
        np.testing.assert_array_equal(label.affine, image.affine)
    assert found == {
        "Dataset901_Organs": ("RAS", [1.0, 1.0, 1.0], [28, 26, 24]),
        "Dataset902_Lesion": ("LPS", [1.0, 1.0, 1.5], [28, 26, 16]),
        "Dataset903_Tumour": ("ASL", [1.4, 1.0, 1.2], [19, 24, 23]),
        "Dataset904_Lung": ("RSP", [1.5, 1.0, 1.0], [19, 24, 26]),
        "Dataset905_Kidney": ("PIR", [1.2, 1.2, 1.2], [22, 20, 23]),
    }


def test_the_same_images_with_other_labels(members):
    """The task alone tells what is to be segmented: each CT member shows what the other one labels."""
    (organs, labelled), (lung, _) = (
        [upright(members[name] / place) for place in ("imagesTr/case_000_0000.nii.gz", "labelsTr/case_000.nii.gz")]
        for name in ("Dataset901_Organs", "Dataset904_Lung")
    )
    means = {label: float(np.median(organs[labelled == label])) for label in (1, 2)}
    assert means == pytest.approx({1: 200, 2: 100}, abs=30)
    for image in (organs, lung):
        shown = {mean: (abs(image - mean) < 50).mean() for mean in (-400, 200)}
        assert min(shown.values()) > 0.03, shown


def test_structures_are_more_than_a_voxel_thick(members):
    for folder in members.values():
        for file in folder.glob("labelsT[rs]/*"):
            label = upright(file)
            for value in set(np.unique(label)) - {0}:
                assert (np.ptp(np.argwhere(label == value), axis=0) >= 3).all(), (file, value)


def test_unannotated_slab_in_training_cases_only(members):
    folder = members["Dataset904_Lung"]
    label = upright(folder / "labelsTr" / "case_001.nii.gz")
    assert (label[..., : label.shape[2] // 5] == 2).all()
    assert not (label[..., label.shape[2] // 5 :] == 2).any()
    assert set(np.unique(upright(folder / "labelsTs" / "unseen_000.nii.gz"))) == {0, 1}


def test_equal_seeds_write_equal_data(members, tmp_path):
    options = {"members": 2, "cases": 2, "unseen": 0, "shape": (24, 26, 28)}
    same = write_phantom_collection(tmp_path / "same", **options)
    other = write_phantom_collection(tmp_path / "other", **options, seed=1)
    for folder in same:
        for file in folder.glob("*Tr/*"):
            place = file.relative_to(folder)
            first = np.asarray(nibabel.load(members[folder.name] / place).dataobj)
            np.testing.assert_array_equal(nibabel.load(file).dataobj, first)
    pairs = list(zip(same, other, strict=True))
    assert not any(
        np.array_equal(*(upright(folder / "imagesTr" / "case_000_0000.nii.gz") for folder in pair)) for pair in pairs
    )


def test_eleven_members(tmp_path):
    folders = write_phantom_collection(tmp_path, first=31, members=11, cases=5, unseen=0, shape=(16, 16, 16))
    names = [folder.name for folder in folders]
    assert (names[0], names[5], names[10]) == ("Dataset031_Organs", "Dataset036_Organs2", "Dataset041_Organs3")
    assert len(set(names)) == 11
    first, again = (upright(folders[index] / "imagesTr" / "case_000_0000.nii.gz") for index in (0, 5))
    assert first.shape == again.shape == (16, 16, 16)
    assert not np.array_equal(first, again)
    for folder in folders:
        values = {value for file in folder.glob("labelsTr/*") for value in np.unique(upright(file))}
        assert len(values) == len(describe(folder)["labels"])
