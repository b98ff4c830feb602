"""Grids of files that nnU-Net's readers read, in all orientations."""

from __future__ import annotations

import itertools
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_ext.errors import UserError
from nnunet_ext.quality.grid import Grid

# voxel sizes along left-right, front-back and foot-head; a mark at the patient's right, front and foot
SIZES, SHAPE, MARK = {"L": 1.0, "P": 2.0, "S": 3.0}, {"L": 4, "P": 5, "S": 6}, 7
TURNS = [(*order, *signs) for order in itertools.permutations("LPS") for signs in ((1, 1, 1), (-1, 1, 1), (-1, -1, -1))]


def write(file, order, signs):
    """An image whose voxel axes x, y, z run along ``order`` (LPS), forwards or backwards."""
    array = np.zeros([SHAPE[each] for each in order], np.float32)
    array[tuple(0 if sign > 0 else -1 for sign in signs)] = MARK
    affine = np.zeros((4, 4))
    affine[:, 3] = 5, 6, 7, 1
    for voxel, (each, sign) in enumerate(zip(order, signs, strict=True)):
        space = "LPS".index(each)
        affine[space, voxel] = sign * SIZES[each] * (-1 if space < 2 else 1)  # of NIfTI: RAS
    nibabel.save(nibabel.Nifti1Image(array, affine), file)


@pytest.mark.parametrize("reader", [SimpleITKIO, NibabelIO, NibabelIOWithReorient])
@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_canonical_axes_run_to_head_back_and_left(tmp_path, reader, turn):
    order, signs = turn[:3], turn[3:]
    write(tmp_path / "a.nii.gz", order, signs)
    image, properties = reader().read_images([str(tmp_path / "a.nii.gz")])
    grid = Grid.of(image.shape[1:], properties)
    turned = grid.canonical(image[0])
    assert turned.shape == (6, 5, 4)
    assert turned[0, 0, 0] == MARK
    assert turned.sum() == MARK
    assert grid.canonical_spacing() == pytest.approx((3.0, 2.0, 1.0))
    if reader is not NibabelIOWithReorient:
        opposite = dict(zip("LPSRAI", "RAILPS", strict=True))
        expected = "".join(each if sign > 0 else opposite[each] for each, sign in zip(order, signs, strict=True))
        assert grid.orientation == expected


def test_readers_agree_on_the_place_in_space(tmp_path):
    write(tmp_path / "a.nii.gz", ("P", "S", "L"), (-1, 1, -1))
    first, other = (
        Grid.of((6, 4, 5), reader().read_images([str(tmp_path / "a.nii.gz")])[1]) for reader in (SimpleITKIO, NibabelIO)
    )
    np.testing.assert_allclose(first.affine, other.affine, atol=1e-5)


def test_a_grid_without_a_place():
    grid = Grid.of((1, 4, 5), {"spacing": (999, 1, 2)})
    array = np.arange(20).reshape(1, 4, 5)
    np.testing.assert_array_equal(grid.canonical(array), array)
    assert grid.orientation is None
    assert grid.canonical_spacing() == (999.0, 1.0, 2.0)
    assert (grid.unit, grid.voxel_size) == ("cm²", 0.02)
    grid = Grid((2, 4, 5), (4.0, 1.0, 2.0))
    assert (grid.unit, grid.voxel_size) == ("ml", 0.008)


def space(*axes, origin=(0, 0, 0)):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.transpose(axes), origin
    return affine


@pytest.mark.parametrize(
    "affine",
    [
        space((0, 0, 0), (0, 0, 0), (0, 0, 0)),
        space((1, 0, 0), (0, 0, 0), (0, 0, 1)),
        space((1, 0, 0), (2, 0, 0), (0, 0, 1)),
        space((0.1, 0.2, 0), (0.3, 0.4, 0), (0.5, 0.6, 0)),
        space((np.nan, 0, 0), (0, 1, 0), (0, 0, 1)),
        space((1, 0, 0), (0, 1, 0), (0, 0, 1), origin=(np.inf, 0, 0)),
    ],
)
def test_axes_that_do_not_span_space(affine):
    with pytest.raises(UserError, match=r"^a.nii.gz: expected three axes that span space in the header .* Correct the"):
        Grid.of((2, 3, 4), {"spacing": (1, 1, 1), "nibabel_stuff": {"original_affine": affine}}, "a.nii.gz")


def test_small_and_sheared_voxels_span_space():
    affine = space((1e-3, 0, 0), (0.9e-3, 1e-4, 0), (0, 0, 1e-3))
    grid = Grid.of((2, 3, 4), {"spacing": (1, 1, 1), "nibabel_stuff": {"original_affine": affine}})
    assert grid.canonical(np.zeros((2, 3, 4))).shape == (2, 3, 4)


@pytest.mark.parametrize("step", [0, np.nan, np.inf])
def test_voxel_sizes_that_are_none(step):
    with pytest.raises(UserError, match=r"^a.tif: expected voxel sizes above 0 in the header, found \(1.0, "):
        Grid.of((2, 3, 4), {"spacing": (1, step, 1)}, "a.tif")


def test_differences():
    grid = Grid((6, 5, 4), (3.0, 2.0, 1.0), np.diag([1.0, 2.0, 3.0, 1.0]))
    assert grid.difference(grid) is None
    assert replace(grid, shape=(5, 5, 4)).difference(grid) == "4 x 5 x 5 voxels, the image has 4 x 5 x 6"
    other = replace(grid, spacing=(3.5, 2.0, 1.0))
    assert other.difference(grid) == "voxels of 1 x 2 x 3.5 mm, the image has 1 x 2 x 3 mm"
    moved = np.diag([1.0, 2.0, 3.0, 1.0])
    moved[0, 3] = 0.09
    assert replace(grid, affine=moved).difference(grid) is None
    moved[0, 3] = 2.0
    assert replace(grid, affine=moved).difference(grid) == "another origin or direction, up to 2 voxels away"
    flipped = np.diag([-1.0, 2.0, 3.0, 1.0])
    assert replace(grid, affine=flipped).difference(grid) == "another origin or direction, up to 6 voxels away"
    assert replace(grid, affine=None).difference(grid) is None
