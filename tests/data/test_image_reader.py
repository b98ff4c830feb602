"""Files are read by the reader that does the work, and refused with the true reason."""

import gzip
import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from skimage.io import imsave

from nnunet_ext.data.case_check import read_label
from nnunet_ext.data.image_file import nifti_shape
from nnunet_ext.data.image_reader import find_reader, planned_reader, read_image
from nnunet_ext.errors import UserError

ARRAY = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
SHEARED = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
NIFTI = {"file_ending": ".nii.gz"}


def reader(name: str = "SimpleITKIO"):
    return planned_reader({"plans_name": "Plans", "image_reader_writer": name})


def write(file: Path, array: np.ndarray = ARRAY, *, vector: bool = False) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=vector), str(file), True)
    return file


def write_series(file: Path, number: int, array: np.ndarray = ARRAY) -> Path:
    SimpleITK.WriteImage(SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(array)] * number), str(file))
    return file


def sheared(file: Path) -> Path:
    image = nibabel.Nifti1Image(ARRAY.T, SHEARED)
    image.set_sform(SHEARED, 1)
    image.header["qform_code"] = 0
    nibabel.save(image, file)
    return file


def problem(file: Path, name: str = "SimpleITKIO", *, label: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        read_image(reader(name), file, label=label)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{file}: expected ")
    return str(caught.value)


class TestTheReader:
    """Of the plans, else what planning will choose."""

    def test_of_plans(self):
        assert type(reader("NibabelIO")).__name__ == "NibabelIO"
        with pytest.raises(UserError, match=r"^plans 'Plans': expected 'image_reader_writer' .*, got 'MyIO'\. Plan"):
            reader("MyIO")

    def test_that_planning_will_choose(self, tmp_path):
        assert type(find_reader(NIFTI, write(tmp_path / "a_0000.nii.gz"))).__name__ == "SimpleITKIO"
        assert type(find_reader(NIFTI, sheared(tmp_path / "b_0000.nii.gz"))).__name__ == "NibabelIO"
        own = NIFTI | {"overwrite_image_reader_writer": "NibabelIOWithReorient"}
        assert type(find_reader(own, tmp_path / "a_0000.nii.gz")).__name__ == "NibabelIOWithReorient"

    def test_sheared_axes_are_told_as_such(self, tmp_path):
        file = sheared(tmp_path / "a_0000.nii.gz")
        text = problem(file)
        assert "expected axes perpendicular to each other, which nnU-Net's SimpleITKIO needs, got sheared ones." in text
        assert '"overwrite_image_reader_writer": "NibabelIO"' in text
        array, _ = read_image(reader("NibabelIO"), file)
        assert (array[0] == ARRAY).all()


class TestWholeFiles:
    """What nnU-Net reads is no damage."""

    @pytest.fixture
    def packed(self, tmp_path) -> tuple[Path, bytes]:
        file = write(tmp_path / "a_0000.nii.gz")
        return file, file.read_bytes()

    def test_a_plain_nifti_named_gz(self, packed):
        file, content = packed
        file.write_bytes(gzip.decompress(content))
        assert (read_image(reader(), file)[0] == ARRAY).all()
        assert nifti_shape(file) == (6, 5, 4)
        assert "nnU-Net's NibabelIO reads, got one that it refuses (" in problem(file, "NibabelIO")
        file.write_bytes(gzip.decompress(content)[:-3])
        assert "corrupt or truncated (829 bytes, the header announces 832)" in problem(file)

    @pytest.mark.parametrize("behind", [b"x" * 7, b"\0" * 512])
    def test_bytes_behind_the_end(self, packed, behind):
        file, content = packed
        file.write_bytes(content + behind)
        assert (read_image(reader(), file)[0] == ARRAY).all()
        file.write_bytes(gzip.decompress(content) + behind)
        assert (read_image(reader(), file)[0] == ARRAY).all()

    def test_several_streams(self, packed):
        """As pigz and bgzip write them."""
        file, content = packed
        plain = gzip.decompress(content)
        file.write_bytes(gzip.compress(plain[:500]) + gzip.compress(plain[500:]))
        assert (read_image(reader(), file)[0] == ARRAY).all()
        file.write_bytes(gzip.compress(plain[:500]) + gzip.compress(plain[500:])[:-9])
        assert "corrupt or truncated (the compressed stream ends early)" in problem(file)

    @pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_both_versions_and_byte_orders(self, tmp_path, kind, order):
        header = kind.header_class(endianness=order)
        image = kind(ARRAY.T.astype(f"{order}f4"), np.eye(4), header)
        for ending in (".nii", ".nii.gz"):
            nibabel.save(image, tmp_path / f"a_0000{ending}")
            assert nifti_shape(tmp_path / f"a_0000{ending}") == (6, 5, 4)
            assert (read_image(reader("NibabelIO"), tmp_path / f"a_0000{ending}")[0] == ARRAY).all()
        stream = io.BytesIO((tmp_path / "a_0000.nii").read_bytes()[:-1])
        (tmp_path / "a_0000.nii").write_bytes(stream.getvalue())
        assert "corrupt or truncated (" in problem(tmp_path / "a_0000.nii", "NibabelIO")

    @pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".png"])
    def test_no_right_to_read(self, tmp_path, monkeypatch, ending):
        file = tmp_path / f"a_0000{ending}"
        file.write_bytes(b"anything")

        def refuse(self, *arguments):
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr("pathlib.Path.open", refuse)
        text = problem(file)
        assert "expected an image that can be read, got 'Permission denied'. Make it readable" in text
        assert "corrupt" not in text

    def test_other_errors_of_the_disk(self, packed, monkeypatch):
        def fail(self, *arguments):
            raise OSError(5, "Input/output error", str(self))

        monkeypatch.setattr("pathlib.Path.open", fail)
        assert "got 'Input/output error'" in problem(packed[0])

    @pytest.mark.parametrize("content", [b"", b"text", gzip.compress(b"<html>not found</html>", mtime=0)])
    def test_no_image(self, tmp_path, content):
        file = tmp_path / "a_0000.nii.gz"
        file.write_bytes(content)
        assert "corrupt or truncated (no NIfTI header)" in problem(file)
        with pytest.raises(UserError, match="corrupt or truncated"):
            nifti_shape(file)


class TestAxesAndValues:
    """What nnU-Net would take for channels and cannot write."""

    @pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd"])
    @pytest.mark.parametrize("label", [False, True])
    def test_four_axes(self, tmp_path, ending, label):
        text = problem(write_series(tmp_path / f"a_0000{ending}", 2), label=label)
        assert "with at most three axes, found 4, the fourth of length 2." in text
        assert ("A label has one channel" if label else "Split it into one file for each channel, named _0000") in text

    @pytest.mark.parametrize("ending", [".mha", ".nrrd"])
    @pytest.mark.parametrize("label", [False, True])
    def test_a_fourth_axis_of_length_1(self, tmp_path, ending, label):
        text = problem(write_series(tmp_path / f"a_0000{ending}", 1), label=label)
        assert "found 4, the fourth of length 1. Save it with three: nnU-Net cannot write a prediction" in text

    @pytest.mark.parametrize("name", ["NibabelIO", "NibabelIOWithReorient", "SimpleITKIOWithReorient"])
    def test_four_axes_by_other_readers(self, tmp_path, name):
        text = problem(write_series(tmp_path / "a_0000.nii.gz", 2), name)
        assert "corrupt" not in text
        assert name in text or "at most three axes" in text

    def test_five_axes(self, tmp_path):
        file = tmp_path / "a_0000.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 4, 2, 2), np.float32), np.eye(4)), file)
        assert "of the form that nnU-Net's SimpleITKIO reads" in problem(file) or "found 5" in problem(file)

    @pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd"])
    @pytest.mark.parametrize("values", [2, 3])
    @pytest.mark.parametrize("label", [False, True])
    def test_several_values_in_a_voxel(self, tmp_path, ending, values, label):
        """Also Slicer's .seg.nrrd of overlapping segments."""
        file = write(tmp_path / f"a_0000{ending}", np.zeros((4, 5, 6, values), np.uint8), vector=True)
        assert f"with one value in each voxel, found {values}." in problem(file, label=label)

    def test_several_values_in_a_single_slice(self, tmp_path):
        file = write(tmp_path / "a_0000.nrrd", np.zeros((1, 5, 6, 2), np.uint8), vector=True)
        assert "expected an image with one value in each voxel, found 2." in problem(file)

    def test_several_values_in_a_pixel(self, tmp_path):
        file = write(tmp_path / "a_0000.mha", np.zeros((5, 6, 3), np.uint8), vector=True)
        assert "expected an image with one value in each voxel, found 3." in problem(file)

    @pytest.mark.parametrize("shape", [(1, 5, 6), (5, 6), (4, 5, 6)])
    def test_two_and_three_axes(self, tmp_path, shape):
        array, _ = read_image(reader(), write(tmp_path / "a_0000.mha", np.ones(shape, np.float32)))
        assert array.shape == (1, *((1, *shape) if len(shape) == 2 else shape))

    @pytest.mark.parametrize("channels", [3, 4])
    def test_photographs_have_channels_and_their_labels_have_one(self, tmp_path, channels):
        file = tmp_path / "a_0000.png"
        imsave(file, np.zeros((5, 6, channels), np.uint8), check_contrast=False)
        natural = reader("NaturalImage2DIO")
        assert read_image(natural, file)[0].shape == (channels, 1, 5, 6)
        with pytest.raises(UserError, match=f"a label with one value in each voxel, found {channels}. A label"):
            read_label(file, natural, (0, 1))

    def test_an_image_of_another_form(self, tmp_path):
        file = tmp_path / "a_0000.png"
        imsave(file, np.zeros((5, 6, 2), np.uint8), check_contrast=False)
        assert "of the form that nnU-Net's NaturalImage2DIO reads, got another (" in problem(file, "NaturalImage2DIO")

    def test_a_flat_tif(self, tmp_path):
        tifffile.imwrite(tmp_path / "a_0000.tif", np.zeros((5, 6), np.uint8))
        assert "of the form that nnU-Net's Tiff3DIO reads" in problem(tmp_path / "a_0000.tif", "Tiff3DIO")


class TestLabels:
    """Values."""

    @pytest.mark.parametrize(
        ("value", "shown", "remedy"),
        [
            (1.0000001, "1.0000001", "Round the file to whole numbers and save it as integers"),
            (0.9999, "0.9999", "Round the file to whole numbers"),
            (7, "7", "Correct the file or declare the label."),
        ],
    )
    def test_undeclared_values(self, tmp_path, value, shown, remedy):
        array = np.ones((4, 5, 6), np.float32)
        array[0, 0, :2] = value
        with pytest.raises(UserError) as caught:
            read_label(write(tmp_path / "a.nrrd", array), reader(), (0, 1, 2))
        assert f"expected the labels of dataset.json, 0 to 2, found {shown} in 2 voxels. {remedy}" in str(caught.value)

    def test_whole_numbers_saved_as_fractions(self, tmp_path):
        label, _ = read_label(write(tmp_path / "a.nrrd", np.full((4, 5, 6), 2.0)), reader(), (0, 1, 2))
        assert (label == 2).all()
