"""What a case is made of, and the dataset.json of a conversion: nnU-Net's reader and ours take it."""

from __future__ import annotations

from pathlib import Path

import pytest
from challenge_tree import KITS, OBLIQUE, SHAPE, ct, write_volume

from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
from nnunet_ext.challenges.conversion.conversion import Conversion, SourceCase
from nnunet_ext.data.dataset_json import is_collection, with_numbers
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError


def test_files_and_grid(tmp_path: Path) -> None:
    first = write_volume(tmp_path / "a.nii.gz", ct(SHAPE), OBLIQUE)
    second = write_volume(tmp_path / "b.nii.gz", ct(SHAPE, 1), KITS)
    assert SourceCase("c", (first,), None).files() == (first,)
    assert SourceCase("c", (first,), second).label_files() == (second,)
    SourceCase("c", (first, first), first).check_grid()
    for case in (SourceCase("c", (first, second), None), SourceCase("c", (first,), second)):
        with pytest.raises(UserError, match=r"b\.nii\.gz: expected the grid of a\.nii\.gz"):
            case.check_grid()
    with pytest.raises(UserError, match=r"c\.nii\.gz: expected an image, found no file"):
        SourceCase("c", (tmp_path / "c.nii.gz",), None).check_grid()


def test_dataset_json_is_an_ordinary_one(tmp_path: Path) -> None:
    record = ChallengeRecord("kits21", {"kidney": (1,)}, {"kidney": 1}, ("CT",))
    case = SourceCase("c", (tmp_path / "a.nii.gz",), tmp_path / "b.nii.gz")
    content = Conversion(record, "K", ("CT",), {"kidney": 1}, (case,)).description()
    assert content == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "kidney": 1},
        "numTraining": 1,
        "file_ending": ".nii.gz",
        "challenge": record.as_json(),
    }
    assert not is_collection(content)
    assert with_numbers(content, tmp_path) == content
    assert RawDataset(tmp_path, content).legal_labels() == (0, 1)
