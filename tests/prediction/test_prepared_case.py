"""Reading and preprocessing a case."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import tifffile
import torch
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from small_model import phantom, stock, write_image

from nnunet_ext.errors import UserError
from nnunet_ext.prediction.prepared_case import PreparedCase
from nnunet_ext.prediction.trained_model import TrainedModel

SPACING = (1.5, 1.4, 1.3)


def test_as_nnunet_preprocesses(write_model, tmp_path):
    folder = write_model(transpose=(2, 0, 1))
    write_image(tmp_path / "a_0000.nii.gz", phantom(border=2)[0], SPACING)
    found = PreparedCase.from_files(TrainedModel.load(folder), [tmp_path / "a_0000.nii.gz"])
    parts = stock(folder)
    expected, _, properties = DefaultPreprocessor(verbose=False).run_case(
        [str(tmp_path / "a_0000.nii.gz")], None, parts.plans_manager, parts.configuration_manager, parts.dataset_json
    )
    np.testing.assert_allclose(found.image.numpy(), expected, atol=5e-6 * np.ptp(expected))
    assert (found.image.dtype, found.image.is_contiguous()) == (torch.float32, True)
    assert repr(found.properties) == repr(properties)
    assert found.reading > 0
    assert found.resampling > 0


def test_tif(write_model, tmp_path):
    model = TrainedModel.load(write_model(reader="Tiff3DIO", ending=".tif"))
    image = phantom()
    tifffile.imwrite(tmp_path / "a_0000.tif", image[0])
    (tmp_path / "a.json").write_text(json.dumps({"spacing": SPACING}))
    found = PreparedCase.from_files(model, [tmp_path / "a_0000.tif"])
    assert torch.equal(found.image, PreparedCase.from_array(model, image, SPACING).image)


def test_the_image_of_the_caller_stays(write_model):
    model = TrainedModel.load(write_model())
    image = phantom().astype(np.int16)
    before = image.copy()
    PreparedCase.from_array(model, image, np.array(SPACING))
    np.testing.assert_array_equal(image, before)


def test_a_preprocessor_that_reads_by_itself(write_model, tmp_path, monkeypatch):
    class Own(DefaultPreprocessor):
        def run_case(self, image_files, *arguments):
            read.append(image_files)
            return self.run_case_npy(phantom(), None, {"spacing": SPACING}, *arguments[1:])

    read: list[list[str]] = []
    model = TrainedModel.load(write_model())
    monkeypatch.setattr(type(model.configuration), "preprocessor_class", Own, raising=False)
    found = PreparedCase.from_files(model, [tmp_path / "of_another_form"], check=False)
    assert read == [[str(tmp_path / "of_another_form")]]
    assert torch.equal(found.image, PreparedCase.from_array(model, phantom(), SPACING).image)


def test_damaged_files(write_model, tmp_path):
    model = TrainedModel.load(write_model())
    file = tmp_path / "a_0000.nii.gz"
    with pytest.raises(UserError, match=r"a_0000.nii.gz: expected an image, found no file"):
        PreparedCase.from_files(model, [file])
    write_image(file, phantom()[0], SPACING)
    whole = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(whole[:-100]))
    with pytest.raises(UserError, match="expected an intact image, but it is corrupt or truncated"):
        PreparedCase.from_files(model, [file])
    PreparedCase.from_files(model, [file], check=False)  # SimpleITK reads it
    file.write_bytes(b"no image")
    with pytest.raises(UserError) as caught:
        PreparedCase.from_files(model, [file], check=False)
    text = str(caught.value)
    assert text.startswith(f"{file}: expected an image that nnU-Net's SimpleITKIO reads, got RuntimeError: ")
    assert text.endswith(". Replace or convert it.")
    assert "\n" not in text


def test_two_files_for_one_channel(write_model, tmp_path):
    model = TrainedModel.load(write_model())
    files = [tmp_path / f"a_{number:04d}.nii.gz" for number in range(2)]
    for file in files:
        write_image(file, phantom()[0], SPACING)
    with pytest.raises(UserError, match=r"a_0000.nii.gz: expected 1 channel, as the model was trained with, found 2"):
        PreparedCase.from_files(model, files)
