"""Geometry: headers read alone, grids compared, label maps on exactly the image's grid."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from challenge_tree import KITS, KITS_SHAPE, OBLIQUE, SHAPE, box, ct, write_volume
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient

from nnunet_ext.challenges.conversion.voxel_file import VoxelFile
from nnunet_ext.errors import UserError

FIELDS = ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "pixdim")
FIELDS += ("qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units")


def as_mha(file: Path) -> Path:
    target = file.with_name(file.name.replace(".nii.gz", ".mha"))
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(file)), str(target))
    return target


@pytest.mark.parametrize(("affine", "shape"), [(KITS, KITS_SHAPE), (OBLIQUE, SHAPE)])
@pytest.mark.parametrize("codes", [(2, 0), (1, 1), (0, 1)])
def test_labels_have_the_geometry_of_the_image(tmp_path: Path, affine, shape, codes) -> None:
    image = write_volume(tmp_path / "image.nii.gz", ct(shape), affine, codes=codes)
    labels = np.arange(np.prod(shape)).reshape(shape[::-1]) % 55
    VoxelFile(image).write_labels(labels, tmp_path / "labels.nii.gz")
    old, new = nibabel.load(image), nibabel.load(tmp_path / "labels.nii.gz")
    for name in FIELDS:
        assert np.array_equal(old.header[name], new.header[name]), name
    assert np.array_equal(old.affine, new.affine)
    assert np.array_equal(np.asarray(new.dataobj).T, labels)
    assert new.get_data_dtype() == np.uint8
    assert sorted(file.name for file in tmp_path.iterdir()) == ["image.nii.gz", "labels.nii.gz"]


def test_scaled_intensities_do_not_scale_the_labels(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(ct(SHAPE), OBLIQUE)
    image.header.set_slope_inter(2.5, -1024)
    image.header["cal_max"] = 400
    nibabel.save(image, tmp_path / "image.nii.gz")
    labels = np.full(SHAPE[::-1], 300, np.uint16)
    labels[0, 0, 0] = 7
    VoxelFile(tmp_path / "image.nii.gz").write_labels(labels, tmp_path / "labels.nii.gz")
    found = nibabel.load(tmp_path / "labels.nii.gz")
    assert found.get_data_dtype() == np.uint16
    assert np.array_equal(np.asarray(found.dataobj).T, labels)
    assert found.header["cal_max"] == 0


def test_mha_is_the_same_grid_and_reads_identically(tmp_path: Path) -> None:
    """With the reader that convert names for KiTS, from both formats."""
    nifti = write_volume(tmp_path / "image.nii.gz", ct(KITS_SHAPE), KITS)
    mha = as_mha(nifti)
    assert VoxelFile(mha).grid().difference(VoxelFile(nifti).grid()) is None
    VoxelFile(mha).check_grid(VoxelFile(nifti))
    arrays, spacings = [], []
    for file in (nifti, mha):
        array, properties = SimpleITKIOWithReorient().read_images([str(file)])
        arrays.append(array)
        spacings.append(properties["spacing"])
    assert np.array_equal(*arrays)
    assert np.allclose(*spacings)
    assert np.allclose(spacings[0], (2.5, 0.8, 0.8))
    assert arrays[0].shape == (1, 6, 12, 10)
    # the first slice of the file is the head's: the last one that nnU-Net sees
    assert np.array_equal(arrays[0][0, -1, ::-1, ::-1], ct(KITS_SHAPE)[0].astype(np.float32))


def test_labels_as_mha(tmp_path: Path) -> None:
    mha = as_mha(write_volume(tmp_path / "image.nii.gz", ct(SHAPE), OBLIQUE))
    labels = np.arange(np.prod(SHAPE)).reshape(SHAPE[::-1]) % 7
    VoxelFile(mha).write_labels(labels, tmp_path / "labels.mha")
    old, new = SimpleITK.ReadImage(str(mha)), SimpleITK.ReadImage(str(tmp_path / "labels.mha"))
    for place in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(old, place)() == getattr(new, place)()
    assert np.array_equal(SimpleITK.GetArrayFromImage(new), labels)


@pytest.mark.parametrize("place", [(0, 3), (1, 0), (2, 2)])
def test_another_grid_is_refused(tmp_path: Path, place: tuple[int, int]) -> None:
    image = write_volume(tmp_path / "image.nii.gz", ct(SHAPE), OBLIQUE)
    other = OBLIQUE.copy()
    other[place] += 0.7
    mask = write_volume(tmp_path / "mask.nii.gz", box(SHAPE, (0, 2), (0, 2), (0, 2)), other)
    with pytest.raises(UserError, match=r"mask\.nii\.gz: expected the grid of image\.nii\.gz, found "):
        VoxelFile(mask).check_grid(VoxelFile(image))


def test_axes_in_another_order_are_another_grid(tmp_path: Path) -> None:
    image = write_volume(tmp_path / "image.nii.gz", ct((4, 4, 4)), KITS)
    turned = write_volume(tmp_path / "mask.nii.gz", box((4, 4, 4), (0, 2), (0, 2), (0, 2)), KITS[:, [2, 1, 0, 3]])
    with pytest.raises(UserError, match="expected the grid of"):
        VoxelFile(turned).check_grid(VoxelFile(image))


def test_the_grid_is_that_of_nnunets_reader(tmp_path: Path) -> None:
    from nnunet_ext.quality.grid import Grid

    image = write_volume(tmp_path / "image.nii.gz", ct(SHAPE), OBLIQUE, codes=(1, 1))
    array, properties = SimpleITKIO().read_images([str(image)])
    assert Grid.of(array.shape[1:], properties).difference(VoxelFile(image).grid()) is None


@pytest.mark.parametrize("value", [1, 255, -1, 0.5])
def test_masks_of_any_value(tmp_path: Path, value: float) -> None:
    mask = box(SHAPE, (1, 3), (2, 5), (0, 2), dtype=np.float64) * value
    file = write_volume(tmp_path / "mask.nii.gz", mask, OBLIQUE)
    assert np.array_equal(VoxelFile(file).mask(), (mask != 0).T)


@pytest.mark.parametrize("second", [2.0, np.nan])
def test_what_is_no_mask(tmp_path: Path, second: float) -> None:
    mask = box(SHAPE, (1, 3), (2, 5), (0, 2), dtype=np.float64)
    mask[1, 2, 0] = second
    file = write_volume(tmp_path / "mask.nii.gz", mask, OBLIQUE)
    with pytest.raises(UserError, match=r"mask\.nii\.gz: expected a mask with one value beside 0, found 1, "):
        VoxelFile(file).mask()


def test_damaged_files(tmp_path: Path) -> None:
    file = write_volume(tmp_path / "mask.nii.gz", ct(SHAPE), OBLIQUE)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(UserError, match="corrupt or truncated"):
        VoxelFile(file).mask()
    file.write_bytes(b"no image")
    with pytest.raises(UserError, match="corrupt or truncated"):
        VoxelFile(file).grid()
    with pytest.raises(UserError, match="found no file"):
        VoxelFile(tmp_path / "other.mha").grid()
    with pytest.raises(UserError, match="three axes, found 4"):
        VoxelFile(write_volume(tmp_path / "four.nii.gz", np.zeros((2, 2, 2, 2), np.uint8), OBLIQUE)).grid()
