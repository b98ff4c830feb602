"""What the platform takes back: values, type, geometry, and nothing else in the folder."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from challenge_model import TUMORS, platform_image, same_geometry, write_input

from nnunet_ext.challenges.container.interface import INTERFACES, OutputImage
from nnunet_ext.challenges.container.output_file import check_free, write_output
from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
from nnunet_ext.errors import UserError

LABEL_MAP = INTERFACES["kits21"].output
SWAPPED = ChallengeRecord("mine", {"a": (1, 3), "b": (2,)}, {"a": 7, "b": 1}, ("CT",))


def write_labels(folder: Path, labels: np.ndarray, ending: str = ".nii.gz") -> Path:
    """A label map as another format holds it: with another origin."""
    folder.mkdir(exist_ok=True)
    made = sitk.GetImageFromArray(labels)
    sitk.WriteImage(made, str(folder / f"labels{ending}"))
    return folder / f"labels{ending}"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_input(tmp_path / "input")


def labels_of(image: Path, highest: int = 4) -> np.ndarray:
    shape = sitk.GetArrayFromImage(sitk.ReadImage(str(image))).shape
    return np.random.default_rng(0).integers(0, highest, shape).astype(np.uint16)


@pytest.mark.parametrize("ending", [".mha", ".nii.gz"])
def test_a_label_map(tmp_path: Path, image: Path, ending: str) -> None:
    labels = labels_of(image)
    output = OutputImage("x", ".", "label_map", ending)
    target = tmp_path / f"out.1{ending}"
    write_output(write_labels(tmp_path / "work", labels), image, target, output, SWAPPED)
    written = sitk.ReadImage(str(target))
    assert written.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), np.array([0, 7, 1, 7])[labels])
    if ending == ".mha":
        assert same_geometry(written, platform_image())
    write_output(write_labels(tmp_path / "work", labels), image, target, output, None)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(target))), labels)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input", target.name, "work"]


def test_a_nifti_keeps_its_geometry(tmp_path: Path) -> None:
    """That of an oblique image, which ITK would round, and its two maps to the world."""
    turn = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0], [0.48, 0.64, 0.6]])
    affine = np.vstack([np.c_[turn * [0.7, 0.7, 1.3], [-100.123, 50.777, 3.3]], [0, 0, 0, 1]])
    image, target = tmp_path / "image.nii.gz", tmp_path / "out.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((7, 6, 5), np.int16), affine), image)
    labels = np.arange(210, dtype=np.uint16).reshape(5, 6, 7) % 4
    work = write_labels(tmp_path / "work", labels)
    write_output(work, image, target, INTERFACES["kipa22"].output, SWAPPED)
    written = sitk.ReadImage(str(target))
    assert written.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), np.array([0, 7, 1, 7])[labels])
    assert same_geometry(written, sitk.ReadImage(str(image)))
    for name in ("get_sform", "get_qform"):
        one, other = (getattr(nibabel.load(file).header, name)(coded=True) for file in (image, target))
        assert str(one) == str(other)


def test_structures(tmp_path: Path, image: Path) -> None:
    labels, record = labels_of(image), ChallengeRecord.of({"challenge": TUMORS})
    output = INTERFACES["segrap2023_gtv"].output
    write_output(write_labels(tmp_path / "work", labels), image, tmp_path / "out.mha", output, record)
    written = sitk.ReadImage(str(tmp_path / "out.mha"))
    assert (written.GetDimension(), written.GetNumberOfComponentsPerPixel(), written.GetPixelID()) == (
        4,
        1,
        sitk.sitkUInt8,
    )
    expected = [np.isin(labels, [1, 2]), np.isin(labels, [2, 3])]
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), np.stack(expected).astype(np.uint8))
    assert same_geometry(written[..., 0], platform_image())


def test_what_is_refused(tmp_path: Path, image: Path) -> None:
    labels = labels_of(image)
    with pytest.raises(UserError, match=r"expected a label map of its size \(14, 18, 10\), got \(14, 18, 9\)"):
        write_output(write_labels(tmp_path / "work", labels[1:]), image, tmp_path / "out.mha", LABEL_MAP, None)
    labels[0, 0, 0] = 256
    with pytest.raises(UserError, match="expected labels up to 255, predicted 256"):
        write_output(write_labels(tmp_path / "work", labels), image, tmp_path / "out.mha", LABEL_MAP, None)
    assert not (tmp_path / "out.mha").exists()


def test_a_folder_with_leftovers(tmp_path: Path) -> None:
    targets = [tmp_path / "images" / name for name in ("a.mha", "b.mha")]
    check_free(targets, alone=True)
    assert (tmp_path / "images").is_dir()
    (tmp_path / "images" / "c.mha").touch()
    check_free(targets, alone=False)
    with pytest.raises(UserError, match=r"expected no file yet, found c\.mha"):
        check_free(targets, alone=True)
    targets[1].touch()
    with pytest.raises(UserError, match=r"expected no file yet, found b\.mha"):
        check_free(targets, alone=False)
    assert (tmp_path / "images" / "c.mha").exists()
