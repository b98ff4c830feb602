"""``nnunet_ext split_labels``: structures of label maps that are there already."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from written_map import write_map

from nnunet_ext.challenges.conversion.challenge_record import KEY, ChallengeRecord
from nnunet_ext.cli.main import main

LABELS = (np.arange(24).reshape(2, 3, 4) % 4).astype(np.uint8)
RECORD = ChallengeRecord("overlapping", {"liver": (1, 2), "vein": (2, 3)}, {}, ("CT",))
DESCRIPTION = {"labels": {"background": 0, "liver": 1, "liver-vein": 2, "vein": 3}, "file_ending": ".nii.gz"}


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Label maps of two cases, as nnU-Net leaves them."""
    for case in "ab":
        write_map(tmp_path / "p" / f"{case}.nii.gz", LABELS)
    (tmp_path / "p" / "dataset.json").write_text(json.dumps(DESCRIPTION | {KEY: RECORD.as_json()}))
    return tmp_path / "p"


def test_a_file_for_each_structure(predictions, capsys):
    assert main(["split_labels", str(predictions)]) == 0
    out = predictions / "structures"
    assert capsys.readouterr().out == f"2 structures of 2 cases written to {out}\n"
    assert sorted(os.listdir(out)) == ["a", "b"]
    vein = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(out / "b" / "vein.nii.gz")))
    np.testing.assert_array_equal(vein, LABELS >= 2)


def test_an_image_elsewhere(predictions, tmp_path, capsys):
    (predictions / "dataset.json").rename(tmp_path / "dataset.json")  # beside labelsTr
    assert main(["split_labels", str(predictions), "--structures", "image", "-o", str(tmp_path / "o")]) == 0
    assert sorted(os.listdir(tmp_path / "o")) == ["a.mha", "b.mha"]
    (tmp_path / "dataset.json").rename(tmp_path / "other.json")
    assert main(["split_labels", str(predictions), "-djfile", str(tmp_path / "other.json")]) == 0


def test_label_maps_are_not_overwritten(tmp_path, mistake):
    write_map(tmp_path / "a.mha", LABELS)
    description = DESCRIPTION | {KEY: RECORD.as_json(), "file_ending": ".mha"}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    told = mistake(f"split_labels {tmp_path} -o {tmp_path} --structures image --no_pbar")
    assert told.startswith(f"{tmp_path / 'a.mha'}: expected another file than the label map, which would be lost.")
    assert SimpleITK.ReadImage(str(tmp_path / "a.mha")).GetDimension() == 3


def test_mistakes(predictions, tmp_path, mistake):
    words = f"split_labels {predictions} --no_pbar"
    (predictions / "b.nii.gz").write_bytes(b"no image")
    assert mistake(words).startswith(f"{predictions / 'b.nii.gz'}: expected an intact image")
    (predictions / "dataset.json").write_text(json.dumps(DESCRIPTION))
    told = mistake(words)
    assert told.startswith(f"{predictions / 'dataset.json'}: expected the key 'challenge' that nnunet_ext convert wri")
    (predictions / "dataset.json").write_text(json.dumps(DESCRIPTION | {KEY: RECORD.as_json(), "file_ending": ".mha"}))
    assert mistake(words).startswith(f"{predictions}: expected label maps CASE.mha, found none. Check the path.")
    (predictions / "dataset.json").unlink()
    assert mistake(words).startswith(f"{predictions}: expected dataset.json in it or in the folder above, found none")
