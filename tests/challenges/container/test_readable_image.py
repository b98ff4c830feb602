"""Images as the model's reader reads them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import SimpleITK as sitk
from challenge_model import platform_image, write_input
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient

from nnunet_ext.challenges.container.readable_image import readable_images, reads
from nnunet_ext.errors import UserError
from nnunet_ext.prediction.trained_model import TrainedModel


def model_of(reader: type, ending: str = ".nii.gz") -> TrainedModel:
    manager = SimpleNamespace(image_reader_writer_class=reader)
    return cast(TrainedModel, SimpleNamespace(plans_manager=manager, file_ending=ending))


@pytest.mark.parametrize("reader", [SimpleITKIO, SimpleITKIOWithReorient])
def test_read_as_it_is(tmp_path: Path, reader: type) -> None:
    file = write_input(tmp_path)
    assert reads(model_of(reader), ".mha")
    assert readable_images([file], model_of(reader), tmp_path) == [file]


def test_a_copy_for_another_reader(tmp_path: Path) -> None:
    """The copy has the same voxels, type, and place in the world, with an asymmetric phantom and turned axes."""
    model = model_of(NibabelIOWithReorient)
    assert not reads(model, ".mha")
    files = [write_input(tmp_path / str(number), seed=number) for number in range(2)]
    copies = readable_images(files, model, tmp_path)
    assert [file.name for file in copies] == ["image_0000.nii.gz", "image_0001.nii.gz"]
    for file, copy in zip(files, copies, strict=True):
        original, read = sitk.ReadImage(str(file)), sitk.ReadImage(str(copy))
        assert read.GetPixelID() == original.GetPixelID() == sitk.sitkInt16
        np.testing.assert_array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(original))
        for corner in [(0, 0, 0), (9, 3, 5)]:
            there = original.TransformIndexToPhysicalPoint(corner)
            np.testing.assert_allclose(read.TransformIndexToPhysicalPoint(corner), there, atol=1e-4)
    turned, _ = NibabelIOWithReorient().read_images([str(copies[0])])
    np.testing.assert_array_equal(turned, SimpleITKIOWithReorient().read_images([str(files[0])])[0])


def test_what_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.mha"
    file.write_bytes(b"no image")
    with pytest.raises(UserError, match="expected an intact image"):
        readable_images([file], model_of(SimpleITKIO), tmp_path)
    flat: Any = platform_image()
    for image, words in (
        (sitk.JoinSeries([flat, flat]), "found 4 axes and 1 values"),
        (sitk.Compose([flat, flat]), "found 3 axes and 2 values"),
    ):
        sitk.WriteImage(image, str(file))
        with pytest.raises(UserError, match=words):
            readable_images([file], model_of(SimpleITKIO), tmp_path)
    whole = write_input(tmp_path, name="cut")
    whole.write_bytes(whole.read_bytes()[:-300])
    with pytest.raises(UserError, match="expected an intact image"):
        readable_images([whole], model_of(NibabelIOWithReorient), tmp_path)
