"""What images are in a folder, and which tasks take them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from skimage.io import imsave

from nnunet_ext.collection.prediction.image_folder import ImageFolder
from nnunet_ext.collection.prediction.viewed_task import ViewedTask
from nnunet_ext.collection.task_table import Task
from nnunet_ext.errors import UserError
from nnunet_ext.phantoms.dataset import write_nifti


def task(name: str, channels: int, ending: str = ".nii.gz", reader: str = "SimpleITKIO") -> ViewedTask:
    names = {str(channel): "MR" for channel in range(channels)}
    line = Task(name, f"Dataset001_{name}", channels, 2, 9)
    plans = {"plans_name": "Plans", "image_reader_writer": reader}
    return ViewedTask(line, 0, plans, {"file_ending": ending, "channel_names": names}, "3d_fullres")


TASKS = [task("liver", 1), task("spleen", 1), task("brain", 4), task("nose", 1, ".nrrd")]


def write(folder: Path, *names: str) -> Path:
    for name in names:
        write_nifti(folder / f"{name}.nii.gz", np.zeros((4, 5, 6), np.float32), (1.0, 1.0, 1.0))
    return folder


def test_one_channel(tmp_path):
    images = ImageFolder.read(write(tmp_path, "a_0000", "b_0000"), TASKS)
    assert images == ImageFolder(tmp_path, ".nii.gz", 1)
    assert [case.name for case in images.cases()] == ["a", "b"]
    assert [found.task.name for found in images.fitting(TASKS, named=False)] == ["liver", "spleen"]


def test_four_channels_and_a_case_that_misses_one(tmp_path):
    images = ImageFolder.read(write(tmp_path, "a_0000", *(f"b_000{channel}" for channel in range(4))), TASKS)
    assert images.channels == 4
    assert [found.task.name for found in images.fitting(TASKS, named=False)] == ["brain"]
    write(tmp_path, "a_0001")
    with pytest.raises(
        UserError, match=r"expected 4 channels of case 'a' as in dataset.json, found no a_0002.nii.gz, a_"
    ):
        images.cases()


def test_one_file_with_three_channels(tmp_path):
    imsave(tmp_path / "a_0000.png", np.zeros((6, 5, 3), np.uint8), check_contrast=False)
    assert ImageFolder.read(tmp_path, [task("road", 3, ".png", "NaturalImage2DIO")]).channels == 3


def test_four_axes_in_one_file(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 4, 4), np.float32), np.eye(4)), tmp_path / "a_0000.nii.gz")
    with pytest.raises(UserError, match=r"a_0000\.nii\.gz: expected an image with at most three axes, found 4"):
        ImageFolder.read(tmp_path, TASKS)


def test_images_are_checked_with_the_reader_of_every_task(tmp_path):
    affine = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(np.zeros((6, 5, 4), np.float32), affine)
    image.set_sform(affine, 1)
    image.header["qform_code"] = 0
    nibabel.save(image, tmp_path / "a_0000.nii.gz")
    nib, itk = task("liver", 1, reader="NibabelIO"), task("spleen", 1)
    images = ImageFolder.read(tmp_path, [nib, itk])
    images.check([nib, nib], show_progress=False)
    for tasks in ([nib, itk], [itk, nib], [nib, itk, nib]):
        with pytest.raises(UserError, match="which nnU-Net's SimpleITKIO needs, got sheared ones"):
            images.check(tasks, show_progress=False)


def test_a_task_that_does_not_fit(tmp_path):
    images = ImageFolder.read(write(tmp_path, "a_0000"), TASKS)
    with pytest.raises(UserError) as error:
        images.fitting([TASKS[0], TASKS[2]], named=True)
    assert str(error.value) == (
        f"{tmp_path}: expected images with 4 channels (.nii.gz) for brain, found images with 1 channel (.nii.gz). Give "
        f"other images after -i or other tasks after --tasks."
    )


def test_images_that_no_task_takes(tmp_path):
    images = ImageFolder.read(write(tmp_path, "a_0000", "a_0001"), TASKS)
    with pytest.raises(UserError) as error:
        images.fitting(TASKS, named=False)
    wanted = "1 channel (.nii.gz) for liver, 1 channel (.nii.gz) for spleen, 4 channels (.nii.gz) for brain"
    assert f"expected images with {wanted}, 1 channel (.nrrd) for nose, found images with 2 channels" in str(
        error.value
    )


def test_images_of_two_kinds(tmp_path):
    (write(tmp_path, "a_0000") / "b_0000.nrrd").touch()
    with pytest.raises(
        UserError, match=r"expected images of one kind, found some that end in .nii.gz and some in .nrrd"
    ):
        ImageFolder.read(tmp_path, TASKS)


def test_no_image(tmp_path):
    with pytest.raises(UserError, match=r"expected images named CASE_0000.nii.gz, found none"):
        ImageFolder.read(tmp_path, TASKS)
    with pytest.raises(UserError, match=r"nowhere: expected a folder of images, found none. Check the path after -i"):
        ImageFolder.read(tmp_path / "nowhere", TASKS)


def test_a_wrong_name(tmp_path):
    with pytest.raises(UserError, match=r"a.nii.gz: expected a name like CASE_0000.nii.gz"):
        ImageFolder.read(write(tmp_path, "a"), TASKS)


def test_the_first_image_is_corrupt(tmp_path):
    """Another one tells the number of channels; only if none can be read is the folder refused, for the first."""
    write(tmp_path, "b_0000")
    (tmp_path / "a_0000.nii.gz").write_bytes(b"no image")
    assert ImageFolder.read(tmp_path, TASKS).channels == 1
    (tmp_path / "b_0000.nii.gz").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a_0000\.nii\.gz: expected an intact image"):
        ImageFolder.read(tmp_path, TASKS)
