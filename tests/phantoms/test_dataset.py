"""Phantoms are seeded, anisotropic and hard enough."""

import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from nnunet_ext.phantoms.dataset import IGNORE, ORGAN, TUMOUR, WALL, phantom_case, write_phantom_dataset

SHAPE, SPACING = (12, 40, 32), (2.5, 1.0, 1.0)


@pytest.fixture(scope="module")
def case():
    return phantom_case(np.random.default_rng(0), shape=(20, 64, 56), spacing=SPACING, channels=2)


def read(file):
    return np.asarray(nibabel.load(file).dataobj).T


def test_types_and_labels(case):
    image, label = case
    assert (image.shape, image.dtype) == ((2, 20, 64, 56), np.float32)
    assert (label.shape, label.dtype) == ((20, 64, 56), np.uint8)
    assert np.unique(label).tolist() == [0, ORGAN, WALL, TUMOUR]


def test_structures_are_nested(case):
    """Only wall touches background, in millimetres no thicker than the docstring says."""
    _, label = case
    beside_background = ndimage.binary_dilation(label == 0) & (label > 0)
    assert set(label[beside_background]) == {WALL}
    depth = ndimage.distance_transform_edt(label > 0, sampling=SPACING)
    assert depth[label == WALL].max() <= 2.8
    assert depth[label == ORGAN].min() > 1.2
    assert (label == TUMOUR).sum() < 0.1 * (label == ORGAN).sum()


def test_no_threshold_finds_the_wall(case):
    """Organ and wall overlap in the noise: the best threshold on intensity is wrong for a third of either."""
    image, label = case
    organ, wall = image[0][label == ORGAN], image[0][label == WALL]
    assert wall.mean() > organ.mean()
    errors = [((organ > limit).mean() + (wall <= limit).mean()) / 2 for limit in np.linspace(50, 200, 100)]
    assert min(errors) > 1 / 3


def test_equal_seeds_write_equal_data(tmp_path):
    first = write_phantom_dataset(tmp_path / "a", "Dataset001_P", cases=2, unseen=1, seed=3, shape=SHAPE)
    second = write_phantom_dataset(tmp_path / "b", "Dataset001_P", cases=2, unseen=1, seed=3, shape=SHAPE)
    other = write_phantom_dataset(tmp_path / "c", "Dataset001_P", cases=2, unseen=1, seed=4, shape=SHAPE)
    files = sorted(path.relative_to(first) for path in first.rglob("*.nii.gz"))
    assert [str(file) for file in files] == [
        "imagesTr/case_000_0000.nii.gz",
        "imagesTr/case_001_0000.nii.gz",
        "imagesTs/unseen_000_0000.nii.gz",
        "labelsTr/case_000.nii.gz",
        "labelsTr/case_001.nii.gz",
        "labelsTs/unseen_000.nii.gz",
    ]
    for file in files:
        np.testing.assert_array_equal(read(first / file), read(second / file))
        assert not np.array_equal(read(first / file), read(other / file))


def test_files_are_in_nnunets_orientation(tmp_path):
    folder = write_phantom_dataset(tmp_path, "Dataset001_P", cases=1, shape=SHAPE, spacing=(2.5, 1.0, 0.8))
    image = nibabel.load(folder / "imagesTr" / "case_000_0000.nii.gz")
    assert image.shape == (32, 40, 12)
    np.testing.assert_allclose(image.header.get_zooms(), (0.8, 1.0, 2.5))


def test_description_of_regions_and_ignore(tmp_path):
    folder = write_phantom_dataset(
        tmp_path, "Dataset001_P", cases=1, shape=SHAPE, regions=True, ignore=True, channels=2
    )
    assert json.loads((folder / "dataset.json").read_text()) == {
        "channel_names": {"0": "phantom0", "1": "phantom1"},
        "labels": {"background": 0, "organ": [1, 2, 3], "wall": [2, 3], "tumour": [3], "ignore": 4},
        "numTraining": 1,
        "file_ending": ".nii.gz",
        "regions_class_order": [1, 2, 3],
    }
    assert (read(folder / "labelsTr" / "case_000.nii.gz")[:, :8] == IGNORE).all()
