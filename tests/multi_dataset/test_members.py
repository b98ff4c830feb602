"""How deep an image is comes from its header, in every format that nnU-Net reads."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from nnunet_ext.errors import UserError
from nnunet_ext.multi_dataset.members import root_source, slices

SHEARED = np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]], float)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".tif"])
@pytest.mark.parametrize("size", [(5, 7, 9), (1, 7, 9)])
def test_slices(tmp_path: Path, ending: str, size: tuple[int, int, int]) -> None:
    file = tmp_path / f"case_000_0000{ending}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros(size, np.float32)), str(file))
    assert slices(file) == size[0]


def test_flat_image(tmp_path: Path) -> None:
    file = tmp_path / "case_000_0000.png"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((7, 9), np.uint8)), str(file))
    assert slices(file) == 1


def test_sheared_image(tmp_path: Path) -> None:
    file = tmp_path / "case_000_0000.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 7, 5), np.float32), SHEARED), file)
    assert slices(file) == 5


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_no_image(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"case_000_0000{ending}"
    for content in (None, b"text"):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UserError, match="expected an image, found none that can be read"):
            slices(file)


def test_the_data_set_behind_a_part_of_a_part(tmp_path: Path) -> None:
    sources = {"Dataset001_Whole": None, "Dataset002_Part": "Dataset001_Whole", "Dataset003_Inner": "Dataset002_Part"}
    for name, source in sources.items():
        (tmp_path / name).mkdir()
        record = {"source": {"dataset": source}} if source else {"source": "King's College London"}
        (tmp_path / name / "dataset.json").write_text(json.dumps(record))
    assert [root_source(tmp_path, name) for name in sources] == [None, "Dataset001_Whole", "Dataset001_Whole"]
