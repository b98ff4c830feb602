"""The cases that ``compare`` scores: their files with what is beside them, and the reader that will do the work."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import tifffile

from nnunet_ext.comparison.arm import Arm
from nnunet_ext.comparison.run import Run
from nnunet_ext.comparison.scored_cases import ScoredCases
from nnunet_ext.comparison.scoring import score
from nnunet_ext.comparison.setting import Setting
from nnunet_ext.data.image_case import Case
from nnunet_ext.errors import UserError

DESCRIPTION = {"labels": {"background": 0, "organ": 1}, "channel_names": {"0": "CT"}, "file_ending": ".tif"}
TIFF = {"plans_name": "Plans", "image_reader_writer": "Tiff3DIO"}


def tif(file: Path, array: np.ndarray, spacing: tuple[float, ...] | None, name: str) -> Path:
    file.parent.mkdir(exist_ok=True)
    tifffile.imwrite(file, array)
    if spacing is not None:
        file.with_name(f"{name}.json").write_text(json.dumps({"spacing": spacing}))
    return file


@pytest.fixture
def scored(tmp_path: Path) -> ScoredCases:
    """A case with a thick-slice .tif; its label has no spacing beside it."""
    array = np.zeros((4, 6, 5), np.uint8)
    array[1, 2, 2] = 1
    image = tif(tmp_path / "images" / "far_0000.tif", array, (3.0, 1.0, 1.0), "far")
    return ScoredCases("test images", DESCRIPTION, (Case("a", (image,), tif(tmp_path / "l/a.tif", array, None, "a")),))


def test_what_is_beside_an_image_is_linked_with_it(scored, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):  # the same command again
        scored.link_images(out)
        (out / ".DS_Store").touch()
        assert {file.name for file in out.iterdir()} == {"a_0000.tif", "a.json", ".DS_Store"}
    assert json.loads((out / "a.json").read_text()) == {"spacing": [3.0, 1.0, 1.0]}
    (out / "b.json").touch()
    with pytest.raises(UserError, match=r"expected the images to score and nothing else, found b\.json"):
        scored.link_images(out)


def test_another_spacing_is_another_file_to_score(scored, tmp_path):
    before = scored.digests
    (tmp_path / "images" / "far.json").write_text('{"spacing": [1, 1, 1]}')
    assert ScoredCases("test images", DESCRIPTION, scored.cases).digests != before


def test_the_check_reads_with_the_reader_of_the_plans(scored, tmp_path):
    scored.check(TIFF)
    with pytest.raises(UserError, match="expected 'image_reader_writer' to be a reader of nnU-Net, got 'NoIO'"):
        scored.check({"plans_name": "Plans", "image_reader_writer": "NoIO"})
    file = tmp_path / "b_0000.nii.gz"
    SimpleITK.WriteImage(SimpleITK.JoinSeries([SimpleITK.Image(5, 6, 4, SimpleITK.sitkFloat32)] * 2), str(file))
    nifti = ScoredCases("test images", DESCRIPTION | {"file_ending": ".nii.gz"}, (Case("b", (file,), file),))
    with pytest.raises(UserError, match="found 4, the fourth of length 2"):
        nifti.check({"plans_name": "Plans", "image_reader_writer": "SimpleITKIO"})


def test_distances_are_in_the_predictions_millimetres(scored, tmp_path):
    """The label says no spacing: nnU-Net copies labels without what is beside them."""
    moved = np.zeros((4, 6, 5), np.uint8)
    moved[2, 2, 2] = 1
    setting = Setting("1", "Plans", "3d_fullres", "cpu", tmp_path / "cmp", (), scored)
    run = Run(setting, Arm("Arm", "NNUNetBaselineTrainer", ()), 0, "0")
    (tmp_path / "cmp").mkdir()
    (tmp_path / "cmp" / "predictions").mkdir()
    tif(tmp_path / "cmp" / "predictions" / run.key / "a.tif", moved, (3.0, 1.0, 1.0), "a")
    assert score(run._pairs(), scored, TIFF) == {"a": {"organ": {"dice": 0.0, "hd95_mm": 3.0}}}


@pytest.mark.parametrize("labels", [{"background": "0", "organ": "1"}, {"background": 0, "organ": [1]}])
def test_labels_as_people_write_them(tmp_path, monkeypatch, labels):
    for variable in ("raw", "preprocessed", "results"):
        (tmp_path / variable / "Dataset001_A").mkdir(parents=True)
        monkeypatch.setenv(f"nnUNet_{variable}", str(tmp_path / variable))
    file = tmp_path / "preprocessed" / "Dataset001_A" / "dataset.json"
    test = ["./imagesTs/a.nii.gz"]  # the Medical Segmentation Decathlon's key, not that of hide_labels
    file.write_text(json.dumps(DESCRIPTION | {"labels": labels, "test": test}))
    found = ScoredCases.find("1", None, None, None)
    assert (found.origin, found.classes) == ("validation", {"organ": 1})
