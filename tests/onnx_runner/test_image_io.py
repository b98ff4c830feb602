"""Images are read, and label maps written, as by nnU-Net's readers of the same names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from small_model import phantom, write_image

from nnunet_ext.errors import UserError
from nnunet_ext.onnx_runner.image_io import READERS, read_case

SHAPE = (7, 9, 8)


def oblique(folder: Path, name: str) -> Path:
    """An image in an oblique, left-handed frame with another value in each voxel."""
    angle = np.deg2rad(20)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, -1]])
    image = SimpleITK.GetImageFromArray(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-3.0, 40.0, 7.0))
    image.SetDirection(rotation[:, [1, 0, 2]].ravel().tolist())
    SimpleITK.WriteImage(image, str(folder / name))
    return folder / name


def flat(folder: Path, name: str) -> Path:
    image = SimpleITK.GetImageFromArray(np.arange(72, dtype=np.int16).reshape(9, 8))
    image.SetSpacing((0.5, 2.0))
    SimpleITK.WriteImage(image, str(folder / name))
    return folder / name


def photograph(folder: Path, name: str, colours: int) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (9, 8, colours)).astype(np.uint8)
    made = values[..., 0] if colours == 1 else values
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(made, isVector=colours > 1), str(folder / name))
    return folder / name


FILES: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "nii.gz": ("SimpleITKIO", lambda folder: oblique(folder, "a_0000.nii.gz")),
    "nrrd": ("SimpleITKIO", lambda folder: oblique(folder, "a_0000.nrrd")),
    "flat": ("SimpleITKIO", lambda folder: flat(folder, "a_0000.mha")),
    "reorient": ("SimpleITKIOWithReorient", lambda folder: oblique(folder, "a_0000.nii.gz")),
    "nibabel": ("NibabelIO", lambda folder: oblique(folder, "a_0000.nii.gz")),
    "nibabel, reorient": ("NibabelIOWithReorient", lambda folder: oblique(folder, "a_0000.nii.gz")),
    "grey": ("NaturalImage2DIO", lambda folder: photograph(folder, "a_0000.png", 1)),
    "RGB": ("NaturalImage2DIO", lambda folder: photograph(folder, "a_0000.png", 3)),
    "RGBA": ("NaturalImage2DIO", lambda folder: photograph(folder, "a_0000.png", 4)),
    "bmp": ("NaturalImage2DIO", lambda folder: photograph(folder, "a_0000.bmp", 3)),
    "tif": ("NaturalImage2DIO", lambda folder: photograph(folder, "a_0000.tif", 3)),
}


def content(file: Path) -> tuple[np.ndarray, Any]:
    if file.name.endswith(".gz"):
        image = nibabel.load(file)
        return np.asarray(image.dataobj), image.affine.tolist()
    if file.suffix == ".tif":  # to which SimpleITK adds a resolution
        return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file))), None
    image = SimpleITK.ReadImage(str(file))
    return SimpleITK.GetArrayFromImage(image), [*image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()]


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("highest", [3, 300])
def test_as_nnunet(tmp_path: Path, case: str, highest: int) -> None:
    name, write = FILES[case]
    if highest > 255 and (name == "SimpleITKIOWithReorient" or case == "bmp"):
        pytest.skip("nnU-Net's class, or the format, holds 8 bits")
    file = write(tmp_path)
    theirs, ours = recursive_find_reader_writer_by_name(name)(), READERS[name]()
    expected, their_properties = theirs.read_images([str(file)])
    found, properties = read_case(ours, [file], len(expected))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype
    assert list(properties["spacing"]) == list(their_properties["spacing"])
    labels = (np.arange(expected[0].size).reshape(expected[0].shape) % (highest + 1)).astype(np.uint16)
    (tmp_path / "theirs").mkdir()
    written = [tmp_path / "theirs" / file.name, tmp_path / f"ours_{file.name}"]
    theirs.write_seg(labels, str(written[0]), their_properties)
    ours.write_seg(labels, str(written[1]), properties)
    (their_labels, their_geometry), (our_labels, geometry) = map(content, written)
    np.testing.assert_array_equal(our_labels, their_labels)
    assert our_labels.dtype == their_labels.dtype
    assert geometry == their_geometry


def test_every_reader_is_one_of_nnunets() -> None:
    for name in READERS:
        assert recursive_find_reader_writer_by_name(name).__name__ == name


def test_several_channels(tmp_path: Path) -> None:
    files = [tmp_path / f"a_000{number}.nii.gz" for number in range(2)]
    for number, file in enumerate(files):
        write_image(file, phantom(SHAPE, seed=number)[0], (2.0, 1.0, 1.0))
    image, _ = read_case(READERS["SimpleITKIO"](), files, 2)
    np.testing.assert_array_equal(image, [phantom(SHAPE, seed=0)[0], phantom(SHAPE, seed=1)[0]])
    with pytest.raises(UserError, match=r"a_0000.nii.gz: expected 1 channel, as the model was trained with, found 2"):
        read_case(READERS["SimpleITKIO"](), files, 1)
    for reader in ("SimpleITKIO", "NibabelIO"):
        for shape, spacing in (((7, 9, 9), (2.0, 1.0, 1.0)), (SHAPE, (2.0, 1.0, 1.5))):
            write_image(files[1], phantom(shape)[0], spacing)
            with pytest.raises(UserError, match=r"a_0001.nii.gz: expected shape and spacing of a_0000.nii.gz"):
                read_case(READERS[reader](), files, 2)


def test_a_fourth_axis_holds_channels_for_simpleitk_only(tmp_path: Path) -> None:
    file = tmp_path / "a_0000.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 2), np.float32), np.eye(4)), file)
    image, properties = read_case(READERS["SimpleITKIO"](), [file], 2)
    assert image.shape == (2, 6, 5, 4)
    assert properties["spacing"] == [1.0, 1.0, 1.0]
    with pytest.raises(UserError, match="expected three axes, found 4"):
        read_case(READERS["NibabelIO"](), [file], 2)


def test_damaged_files(tmp_path: Path) -> None:
    file = tmp_path / "a_0000.nrrd"
    file.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a_0000.nrrd: expected an image that SimpleITKIO reads, got RuntimeError: "):
        read_case(READERS["SimpleITKIO"](), [file], 1)
    with pytest.raises(UserError, match="expected an image, found no file"):
        read_case(READERS["SimpleITKIO"](), [tmp_path / "b.nii.gz"], 1)
