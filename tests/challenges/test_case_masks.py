"""Masks of a case from a label map or a folder; values and grids are checked for real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from written_map import write_map

from nnunet_ext.challenges.case_masks import LabelMap, MaskFolder, MaskImage, check_grid, read_labels
from nnunet_ext.errors import UserError

pytestmark = pytest.mark.smoke
LABELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 4
WHOLE = (slice(0, 2), slice(0, 3), slice(0, 4))


def test_a_structure_is_the_union_of_its_labels(tmp_path: Path) -> None:
    found = LabelMap.read(write_map(tmp_path / "a.nii.gz", LABELS), SimpleITKIO(), (1, 2, 3))
    assert found.labels.dtype == np.uint8
    assert found.grid.spacing == (2.0, 1.0, 1.0)
    both, one = found.mask("mass", (2, 3)), found.mask("tumor", (2,))
    assert both is not None
    assert one is not None
    assert both.within(WHOLE).tolist() == (LABELS >= 2).tolist()
    assert both.box == (slice(0, 2), slice(0, 3), slice(2, 4))
    assert one.within(WHOLE).tolist() == (LABELS == 2).tolist()
    assert found.counted(WHOLE) is None
    nothing = found.mask("other", (9,))
    assert nothing is not None
    assert nothing.box is None
    assert found.values == [1, 2, 3]
    assert found.has("anything")


def test_labels_to_ignore(tmp_path: Path) -> None:
    found = LabelMap.read(write_map(tmp_path / "a.nii.gz", LABELS), SimpleITKIO(), (1, 2), ignore=3)
    counted = found.counted((slice(0, 1), slice(1, 3), slice(0, 4)))
    assert counted is not None
    assert counted.tolist() == (LABELS != 3)[:1, 1:].tolist()


@pytest.mark.parametrize(
    ("legal", "add", "found"), [((1, 2), 0, 3), ((1, 3), 0, 2), ((1, 2, 3), -1, -1), ((1, 2), 9999, 9999)]
)
def test_unknown_labels(tmp_path: Path, legal: tuple[int, ...], add: int, found: int) -> None:
    """Above the highest one, between them, below 0, and far above."""
    file = write_map(tmp_path / "a.nii.gz", LABELS.astype(np.int16) + np.int16(add))
    with pytest.raises(UserError, match=rf"a\.nii\.gz: expected labels 0, .*, found {found}\."):
        LabelMap.read(file, SimpleITKIO(), legal)


def test_fractions_are_no_labels(tmp_path: Path) -> None:
    file = write_map(tmp_path / "a.nii.gz", LABELS / 2)
    with pytest.raises(UserError, match="expected whole numbers as labels, found fractions"):
        read_labels(file, SimpleITKIO())


def test_labels_beyond_a_byte_stay(tmp_path: Path) -> None:
    labels, _ = read_labels(write_map(tmp_path / "a.nii.gz", LABELS.astype(np.int16) + 300), SimpleITKIO())
    assert labels.max() == 303


def test_a_folder_of_masks(tmp_path: Path) -> None:
    write_map(tmp_path / "Lens_L.nii.gz", (LABELS == 3).astype(np.uint8))
    write_map(tmp_path / "Eye_L.nii.gz", (LABELS == 1).astype(np.uint8) * 255)
    found = MaskFolder(tmp_path, SimpleITKIO(), ["Brain", "Eye_L", "Lens_L"], ".nii.gz")
    eye, lens = found.mask("Eye_L", ()), found.mask("Lens_L", ())
    assert eye is not None
    assert lens is not None
    assert eye.within(WHOLE).tolist() == (LABELS == 1).tolist()
    assert lens.within(WHOLE).tolist() == (LABELS == 3).tolist()
    assert found.mask("Brain", ()) is None
    assert [found.has(name) for name in ("Brain", "Eye_L")] == [False, True]
    assert found.counted(WHOLE) is None


def test_masks_of_a_folder_lie_on_one_grid(tmp_path: Path) -> None:
    write_map(tmp_path / "Eye_L.nii.gz", LABELS)
    write_map(tmp_path / "Lens_L.nii.gz", LABELS, spacing=(2.0, 1.0, 1.5))
    found = MaskFolder(tmp_path, SimpleITKIO(), ["Eye_L", "Lens_L"], ".nii.gz")
    with pytest.raises(
        UserError, match=r"Lens_L\.nii\.gz: expected the voxel grid of .*Eye_L\.nii\.gz, found voxels of"
    ):
        found.mask("Lens_L", ())


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected files such as Eye_L\.nii\.gz, found none"):
        MaskFolder(tmp_path, SimpleITKIO(), ["Eye_L"], ".nii.gz")


@pytest.mark.parametrize(
    ("shape", "spacing", "origin", "found"),
    [
        ((2, 3, 5), (2.0, 1.0, 1.0), (0, 0, 0), "5 x 3 x 2 voxels, the other has 4 x 3 x 2"),
        ((2, 3, 4), (2.5, 1.0, 1.0), (0, 0, 0), "voxels of 1 x 1 x 2.5 mm, the other has 1 x 1 x 2 mm"),
        ((2, 3, 4), (2.0, 1.0, 1.0), (0, 0, 1), "another origin or direction, up to 1 voxels away"),
    ],
)
def test_another_grid(
    tmp_path: Path, shape: tuple[int, ...], spacing: tuple[float, ...], origin: tuple[float, ...], found: str
) -> None:
    _, expected = read_labels(write_map(tmp_path / "a.nii.gz", LABELS), SimpleITKIO())
    file = write_map(tmp_path / "b.nii.gz", np.zeros(shape, np.uint8), spacing, origin)
    _, grid = read_labels(file, SimpleITKIO())
    with pytest.raises(UserError) as error:
        check_grid(grid, file, expected, tmp_path / "a.nii.gz")
    assert f"b.nii.gz: expected the voxel grid of {tmp_path / 'a.nii.gz'}, found {found}. " in str(error.value)
    check_grid(expected, file, expected, file)


def masks_image(file: Path, kind: type = np.uint8, *, packed: bool = True) -> np.ndarray:
    """Write an oblique image of three structures, the second one empty, with SimpleITK; return the masks."""
    masks = np.stack([LABELS == 1, LABELS > 3, LABELS >= 2]).astype(kind)
    image = SimpleITK.GetImageFromArray(masks, isVector=False)
    image.SetSpacing((1.0, 2.0, 3.0, 1.0))
    image.SetOrigin((1.0, -2.0, 3.0, 0.0))
    image.SetDirection((0.0, -1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1))
    SimpleITK.WriteImage(image, str(file), packed)
    return masks


@pytest.mark.parametrize("packed", [True, False])
def test_an_image_of_all_structures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    """Also if its bytes are read in small pieces."""
    masks = masks_image(tmp_path / "a.mha", packed=packed)
    monkeypatch.setattr("nnunet_ext.challenges.case_masks.CHUNK", 5)
    found = MaskImage(tmp_path / "a.mha", ("one", "nothing", "more"))
    for name, mask in zip(("one", "nothing", "more"), masks, strict=True):
        cropped = found.mask(name, ())
        assert cropped is not None
        assert (cropped.box is None) == (name == "nothing")
        assert np.array_equal(cropped.within(WHOLE), mask)
    assert found.has("one")
    assert found.counted(WHOLE) is None
    assert (found.grid.shape, found.grid.spacing) == ((2, 3, 4), (3.0, 2.0, 1.0))
    assert found.grid.affine is not None
    assert found.grid.affine.tolist() == [[0, -2, 0, 1], [1, 0, 0, -2], [0, 0, 3, 3], [0, 0, 0, 1]]


def test_images_that_are_something_else(tmp_path: Path) -> None:
    file = tmp_path / "a.mha"
    masks_image(file, np.int16)
    with pytest.raises(
        UserError, match="8-bit integers with four axes, 3 structures along the last, found 4 x 3 x 2 x 3 of"
    ):
        MaskImage(file, "abc")
    masks_image(file)
    with pytest.raises(
        UserError, match=r"a\.mha: .* 2 structures along the last, found 4 x 3 x 2 x 3 of 8-bit unsigned"
    ):
        MaskImage(file, "ab")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(LABELS), str(file))
    with pytest.raises(UserError, match="found 4 x 3 x 2 of 8-bit unsigned"):
        MaskImage(file, "abc")


@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_image(tmp_path: Path, packed: bool) -> None:
    file = tmp_path / "a.mha"
    masks_image(file, packed=packed)
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(UserError, match=r"a\.mha: expected an intact image, but it is corrupt or truncated \(it ends"):
        MaskImage(file, "abc")
    file.write_bytes(whole.replace(b"LOCAL", b"a.raw"))
    with pytest.raises(UserError, match=r"a\.mha: expected an intact image, .* \(its voxels are in another file\)"):
        MaskImage(file, "abc")
    file.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a\.mha: expected an intact image"):
        MaskImage(file, "abc")
