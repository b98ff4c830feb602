"""Images are read, and label maps written, as by nnU-Net's readers of the same names."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest
import SimpleITK
import tifffile
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from small_model import phantom, write_image

from nnunet_ext.errors import UserError
from nnunet_ext.onnx_runner.image_io import READERS, read_case

SHAPE = (7, 9, 8)
GREY = np.random.default_rng(1).integers(0, 256, (32, 48)).astype(np.uint8)


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


def grey_bmp(folder: Path) -> Path:
    PIL.Image.fromarray(GREY).save(folder / "a_0000.bmp")
    return folder / "a_0000.bmp"


def one_bit_png(folder: Path) -> Path:
    PIL.Image.fromarray(GREY > 100).save(folder / "a_0000.png")
    return folder / "a_0000.png"


def sixteen_bit_png(folder: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 2**16, (9, 8, 3)).astype(np.uint16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values, isVector=True), str(folder / "a_0000.png"))
    return folder / "a_0000.png"


def tif(folder: Path, values: np.ndarray = GREY, **options: Any) -> Path:
    tifffile.imwrite(folder / "a_0000.tif", values, **options)
    return folder / "a_0000.tif"


# which SimpleITK reads otherwise than nnU-Net
ODD: dict[str, Callable[[Path], Path]] = {
    "grey bmp": grey_bmp,
    "1-bit png": one_bit_png,
    "16-bit RGB png": sixteen_bit_png,
    "tiled tif": lambda folder: tif(folder, tile=(16, 16)),
    "planar tif": lambda folder: tif(folder, np.stack([GREY, GREY // 2, GREY]), photometric="rgb", planarconfig=2),
    "float64 tif": lambda folder: tif(folder, GREY / 3),
}
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
} | {name: ("NaturalImage2DIO", write) for name, write in ODD.items()}


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
    if highest > 255 and (name == "SimpleITKIOWithReorient" or "bmp" in case):
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


@pytest.fixture
def without_skimage(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "skimage" else real(name, *more)
    )


@pytest.mark.parametrize("case", ODD)
@pytest.mark.usefixtures("without_skimage")
def test_without_scikit_image_what_would_be_read_otherwise_is_refused(tmp_path: Path, case: str) -> None:
    file = ODD[case](tmp_path)
    kind = {"1-bit png": "PNG with 1 bit for each value", "16-bit RGB png": "PNG with 16 bits for each value"}
    with pytest.raises(UserError) as caught:
        read_case(READERS["NaturalImage2DIO"](), [file], 1)
    assert str(caught.value) == (
        f"{file}: expected the package scikit-image, with which nnU-Net reads a "
        f"{kind.get(case, f'{file.suffix} file')}, found none. Run pip install scikit-image, or convert all images to "
        f"PNG with 8 bits."
    )


@pytest.mark.parametrize("colours", [1, 3, 4])
@pytest.mark.parametrize("values", [np.uint8, np.uint16])
def test_without_scikit_image_png_is_read(
    tmp_path: Path, colours: int, values: type, request: pytest.FixtureRequest
) -> None:
    if values is np.uint16 and colours > 1:
        pytest.skip("nnU-Net reads these in 8 bits")
    made = np.random.default_rng(0).integers(0, 250, (9, 8, colours)).astype(values) * values(
        1 if values is np.uint8 else 257
    )
    image = SimpleITK.GetImageFromArray(made[..., 0] if colours == 1 else made, isVector=colours > 1)
    SimpleITK.WriteImage(image, str(tmp_path / "a.png"))
    expected, _ = recursive_find_reader_writer_by_name("NaturalImage2DIO")().read_images([str(tmp_path / "a.png")])
    request.getfixturevalue("without_skimage")
    found, _ = read_case(READERS["NaturalImage2DIO"](), [tmp_path / "a.png"], colours)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"x" * 50),
        ("a.tif", b"II*\0"),
        ("a.bmp", b"x"),
    ],
)
@pytest.mark.parametrize("skimage", [True, False])
def test_damaged_photographs(
    tmp_path: Path, name: str, content: bytes, skimage: bool, request: pytest.FixtureRequest
) -> None:
    if not skimage:
        request.getfixturevalue("without_skimage")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"^{tmp_path / name}: expected (an image that Nat|the package scikit-image)"):
        read_case(READERS["NaturalImage2DIO"](), [tmp_path / name], 1)


def test_a_photograph_with_other_axes(tmp_path: Path) -> None:
    file = tif(tmp_path, np.zeros((5, 16, 16), np.uint8))
    with pytest.raises(UserError, match=r"^\S+a_0000.tif: expected a 2d image, grey, RGB or RGBA, found \(5, 16, 16\)"):
        read_case(READERS["NaturalImage2DIO"](), [file], 1)


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIO"])
def test_channels_that_differ_by_rounding_or_in_place(
    tmp_path: Path, reader: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As nnU-Net's classes: rounding is no difference, and another place is a warning."""
    files = [tmp_path / f"a_000{number}.nii.gz" for number in range(2)]
    affines = [np.diag([1, 1, 2.0, 1]) for _ in files]
    affines[1][0, 0] += 1e-6

    def read() -> list[str]:
        for file, affine in zip(files, affines, strict=True):
            nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.float32), affine), file)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "nnunet_ext"):
            assert read_case(READERS[reader](), files, 2)[0].shape == (2, *SHAPE[::-1])
        recursive_find_reader_writer_by_name(reader)().read_images(list(map(str, files)))  # reads them, too
        return [message.split(". ")[0] for message in caplog.messages]

    assert read() == []
    affines[1][0, 3] = 5
    place = "affine" if reader == "NibabelIO" else "origin"
    assert read() == [f"{files[1]}: another {place} than that of a_0000.nii.gz"]
    affines[1][:2, :2] = [[0, -1], [1, 0]]
    places = ["affine"] if reader == "NibabelIO" else ["origin", "direction"]
    assert read() == [f"{files[1]}: another {place} than that of a_0000.nii.gz" for place in places]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    files = [tmp_path / f"a_000{number}.nrrd" for number in range(2)]
    for number, file in enumerate(files):
        image = np.zeros(SHAPE, np.float32)
        image[0, 0, :2] = value if number else 0
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(image), str(file))
    with pytest.raises(UserError, match=rf"^{files[1]}: expected finite values, found NaN or Inf in 2 voxels"):
        read_case(READERS["SimpleITKIO"](), files, 2)
