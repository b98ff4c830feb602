"""How deep an image is comes from its header, in every format that nnU-Net reads."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from nnunet_ext.collection.collect.part import written_parts
from nnunet_ext.collection.manifest import Manifest, ManifestTask
from nnunet_ext.collection.members import check_members, root_source, slices
from nnunet_ext.errors import UserError
from nnunet_ext.phantoms.dataset import write_phantom_dataset

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
    with pytest.raises(UserError, match="expected an image, found no file"):
        slices(file)
    file.write_bytes(b"text")
    with pytest.raises(UserError, match=r"expected an image, found none that can be read|no NIfTI header"):
        slices(file)


def test_a_plain_nifti_named_gz(tmp_path: Path) -> None:
    file = tmp_path / "case_000_0000.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 7, 5), np.float32), np.eye(4)), file)
    assert slices(file.rename(tmp_path / "case_000_0000.nii.gz")) == 5


def part_of(source: str) -> dict:
    return {"source": {"dataset": source, "collection": "Dataset900_All", "task": "a"}}


def test_the_data_set_behind_a_part_of_a_part(tmp_path: Path) -> None:
    sources = {"Dataset001_Whole": None, "Dataset002_Part": "Dataset001_Whole", "Dataset003_Inner": "Dataset002_Part"}
    for name, source in sources.items():
        (tmp_path / name).mkdir()
        record = part_of(source) if source else {"source": "King's College London"}
        (tmp_path / name / "dataset.json").write_text(json.dumps(record))
    assert [root_source(tmp_path, name) for name in sources] == [None, "Dataset001_Whole", "Dataset001_Whole"]


@pytest.mark.parametrize("source", [{"name": "TCIA"}, {"dataset": "TCIA"}, ["Dataset002_Part"], 3, None])
def test_a_key_source_of_somebody_else(tmp_path: Path, source: object) -> None:
    (tmp_path / "Dataset001_Whole").mkdir()
    (tmp_path / "Dataset001_Whole" / "dataset.json").write_text(json.dumps({"source": source}))
    assert root_source(tmp_path, "Dataset001_Whole") is None
    assert written_parts(tmp_path, "Dataset900_All") == {}


def test_cases_that_were_annotated_for_some_classes_only(tmp_path: Path) -> None:
    """Edited into a manifest as a whole, such a dataset would teach organs that nobody drew as background."""
    for number in (1, 2):
        write_phantom_dataset(tmp_path, f"Dataset00{number}_D", cases=3, seed=number, shape=(8, 12, 10))
    manifest = Manifest("Dataset900_C", (ManifestTask("one", "Dataset001_D"), ManifestTask("two", "Dataset002_D")))
    check_members(manifest, tmp_path / "Dataset900_C")
    file = tmp_path / "Dataset002_D" / "dataset.json"
    description = json.loads(file.read_text())
    classes = [name for name in description["labels"] if name != "background"]
    file.write_text(json.dumps(description | {"annotated": {"case_001": classes, "case_002": classes[1:]}}))
    with pytest.raises(UserError) as raised:
        check_members(manifest, tmp_path / "Dataset900_C")
    assert str(raised.value) == (
        f"{tmp_path}/Dataset900_C/dataset.json: task 'two': expected a member whose cases were all annotated for all "
        f"classes, found case 'case_002' of Dataset002_D not annotated for {classes[0]}. Let nnunet_ext collect make a "
        f"task of each set of classes: nnunet_ext collect -d ... -n ... 2"
    )
    file.write_text(json.dumps(description | {"annotated": {"case_001": classes}}))
    check_members(manifest, tmp_path / "Dataset900_C")
