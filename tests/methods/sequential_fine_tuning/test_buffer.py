"""Buffers: written, read, moved, and with cases that are gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_ext.errors import UserError
from nnunet_ext.methods.sequential_fine_tuning.buffer import Cases, SeveralFolders, read_buffer, without, write_buffer


def preprocessed(place: Path, *names: str, channels: int = 1) -> Path:
    """Cases whose value is their number."""
    place.mkdir(parents=True)
    for number, name in enumerate(names):
        image = np.full((channels, 2, 4, 4), number, np.float32)
        labels = np.zeros((1, 2, 4, 4), np.int16)
        nnUNetDatasetBlosc2.save_case(image, labels, {"class_locations": {}}, str(place / name))
    return place


def written(folder: Path) -> Path:
    place = preprocessed(folder / "data" / "Plans_3d", "a", "b", "c")
    file = folder / "buffers" / "buffer.json"
    file.parent.mkdir()
    write_buffer(file, place, [("b", 0.5), ("a", 0.5), ("c", 2.0)], 2, {"dataset": "Dataset001_X", "plans": "Plans"})
    return file


def test_all_scores_chosen_first_and_relative_paths(tmp_path: Path) -> None:
    file = written(tmp_path / "here")
    content = json.loads(file.read_text())
    assert content["cases"] == [
        {"case": "b", "score": 0.5, "chosen": True},
        {"case": "a", "score": 0.5, "chosen": True},
        {"case": "c", "score": 2.0, "chosen": False},
    ]
    assert content["data"] == "../data/Plans_3d"
    assert (content["dataset"], content["plans"], content["format"]) == ("Dataset001_X", "Plans", 1)
    assert str(tmp_path) not in file.read_text()
    shutil.move(tmp_path / "here", tmp_path / "there")
    found = read_buffer(tmp_path / "there" / "buffers" / "buffer.json")
    assert found == Cases(tmp_path / "there" / "data" / "Plans_3d", ("b", "a"))


def test_what_is_no_buffer(tmp_path: Path) -> None:
    file = written(tmp_path)
    with pytest.raises(UserError, match=r"none\.json: expected a buffer of cases, found no file"):
        read_buffer(tmp_path / "none.json")
    content = json.loads(file.read_text())
    for other in ({"format": 2}, {"cases": None}, {"data": 1}, {"cases": [{"name": "a", "chosen": True}]}):
        file.write_text(json.dumps(content | other))
        with pytest.raises(UserError, match="expected a buffer of format 1"):
            read_buffer(file)
    file.write_text(json.dumps(content | {"cases": [content["cases"][2]]}))
    with pytest.raises(UserError, match="expected a chosen case, found none"):
        read_buffer(file)
    file.write_text(json.dumps(content))
    for left in (tmp_path / "data" / "Plans_3d").glob("a*"):
        left.unlink()
    with pytest.raises(UserError, match=r"found no preprocessed 'a' there\. Restore the data"):
        read_buffer(file)


def test_cases_are_left_out_whichever_plans_they_are_preprocessed_with(tmp_path: Path) -> None:
    own, other = tmp_path / "Dataset001_X", tmp_path / "Dataset002_Y"
    groups = [
        Cases(own / "PlansA_3d", ("a", "b")),
        Cases(own / "PlansB_2d", ("b",)),
        Cases(other / "PlansA_3d", ("b",)),
    ]
    kept, left_out = without(groups, Cases(own / "PlansC_3d", ("b",)))
    assert kept == [Cases(own / "PlansA_3d", ("a",)), Cases(other / "PlansA_3d", ("b",))]
    assert left_out == 2


def test_several_folders_are_one_dataset(tmp_path: Path) -> None:
    one = Cases(preprocessed(tmp_path / "one", "a", "b"), ("b",))
    other = Cases(preprocessed(tmp_path / "other", "z", "a", "b"), ("a", "b"))
    dataset = SeveralFolders([one, other])
    values = [float(dataset.load_case(name)[0][:].mean()) for name in dataset.identifiers]
    assert values == [1.0, 1.0, 2.0]
    dataset.check_channels(1)
    dataset = SeveralFolders([one, Cases(preprocessed(tmp_path / "two", "a", channels=2), ("a",))])
    with pytest.raises(UserError, match=r"two: expected cases of 1 channels, as the network has, found 2"):
        dataset.check_channels(1)


def test_channels_in_another_order(tmp_path: Path) -> None:
    """By the dataset.json beside the preprocessed cases."""
    cases = Cases(preprocessed(tmp_path / "one" / "PlansA_3d", "a", channels=2), ("a",))
    file = tmp_path / "one" / "dataset.json"
    file.write_text(json.dumps({"channel_names": {"0": "T2", "1": "T1"}, "labels": {"background": 0}}))
    dataset = SeveralFolders([cases])
    dataset.check_channels(2)
    dataset.check_channels(2, ["T2", "T1"])
    dataset.check_channels(2, ["CT", "PET"])  # other names: nothing is known
    with pytest.raises(UserError, match="expected the channels in the order of the network's, found"):
        dataset.check_channels(2, ["T1", "T2"])
