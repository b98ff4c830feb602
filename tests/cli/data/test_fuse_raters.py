"""``nnunet_ext fuse_raters``: labels for a dataset that has none, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile

from nnunet_ext.cli.main import main
from nnunet_ext.phantoms.dataset import write_phantom_dataset
from nnunet_ext.phantoms.raters import write_phantom_raters


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    folder = write_phantom_dataset(tmp_path, "Dataset007_P", cases=2, shape=(8, 16, 16))
    write_phantom_raters(folder, noise=0.0)
    (folder / "labelsTr").rename(tmp_path / "truth")
    return folder


def read(file: Path) -> np.ndarray:
    return np.asarray(nibabel.load(file).dataobj)


@pytest.mark.parametrize("by", ["majority", "staple"])
def test_labels_with_the_geometry_of_the_raters(raw, by, capsys):
    assert main(["fuse_raters", "-d", "7", "--by", by, "--no_pbar"]) == 0
    out = capsys.readouterr().out
    assert f"labelsTr: 2 cases, made of labelsTr_raters by {by}; there were no labels before" in out
    assert "Next: nnunet_ext plan_and_preprocess -d 7" in out
    assert sorted(file.name for file in (raw / "labelsTr").iterdir()) == ["case_000.nii.gz", "case_001.nii.gz"]
    fused, truth = (raw / "labelsTr" / "case_000.nii.gz"), raw.parent / "truth" / "case_000.nii.gz"
    one, other = read(fused), read(truth)
    assert (one == other).all() if by == "majority" else ((one > 0) >= (other > 0)).all()
    assert (nibabel.load(fused).affine == nibabel.load(truth).affine).all()
    assert not list(raw.glob(".*"))


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_existing_labels_are_never_overwritten(raw, capsys):
    (raw / "labelsTr").mkdir()
    (raw / "labelsTr" / "case_000.nii.gz").write_text("mine")
    assert "labelsTr: expected no folder, found one, which is never overwritten" in refused("fuse_raters -d 7", capsys)
    assert (raw / "labelsTr" / "case_000.nii.gz").read_text() == "mine"


def test_listed_labels(raw, capsys):
    described = json.loads((raw / "dataset.json").read_text())
    described["dataset"] = {"case_000": {"images": ["a"], "label": "b"}}
    (raw / "dataset.json").write_text(json.dumps(described))
    assert "found them listed under 'dataset'" in refused("fuse_raters -d 7", capsys)


def test_a_case_that_nobody_rated(raw, capsys):
    for rater in (raw / "labelsTr_raters").iterdir():
        (rater / "case_001.nii.gz").unlink()
    assert "found none of case 'case_001'. Have it annotated" in refused("fuse_raters -d 7", capsys)
    assert not (raw / "labelsTr").exists()


def test_no_raters(raw, capsys):
    shutil.rmtree(raw / "labelsTr_raters")
    assert "expected a folder for each rater" in refused("fuse_raters -d 7", capsys)


@pytest.mark.parametrize("known", [False, True])
def test_no_spacing_is_made_up_for_tif(raw, known):
    shutil.rmtree(raw / "imagesTr")
    shutil.rmtree(raw / "labelsTr_raters")
    rater = raw / "labelsTr_raters" / "anna"
    for folder in (raw / "imagesTr", rater):
        folder.mkdir(parents=True)
    described = json.loads((raw / "dataset.json").read_text()) | {"file_ending": ".tif", "numTraining": 1}
    (raw / "dataset.json").write_text(json.dumps(described))
    for channel in range(len(described["channel_names"])):
        tifffile.imwrite(raw / "imagesTr" / f"a_{channel:04d}.tif", np.ones((5, 6, 6), np.float32))
    tifffile.imwrite(rater / "a.tif", np.ones((5, 6, 6), np.uint8))
    for file in (raw / "imagesTr" / "a.json", *([rater / "a.json"] if known else [])):
        file.write_text(json.dumps({"spacing": [3.0, 1.5, 1.5]}))
    assert main(["fuse_raters", "-d", "7", "--no_pbar"]) == 0
    written = {file.name: file for file in (raw / "labelsTr").iterdir()}
    assert set(written) == ({"a.tif", "a.json"} if known else {"a.tif"})
    if known:
        assert json.loads(written["a.json"].read_text())["spacing"] == [3.0, 1.5, 1.5]
