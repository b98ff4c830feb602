"""Which classes of the source training would forget."""

from pathlib import Path

import pytest
from batchgenerators.utilities.file_and_folder_operations import write_pickle

from nnunet_ext.fine_tuning.missing_classes import missing_classes

DATA = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "Organ": 1, "vessel": 2, "lesion": 3},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases, with vessel and lesion, and with lesion."""
    for case, there in {"a": (2, 3), "b": (3,)}.items():
        locations = {value: [[0, 1, 1, 1]] if value in there else [] for value in (1, 2, 3)}
        write_pickle({"class_locations": locations}, str(tmp_path / f"{case}.pkl"))
    return tmp_path


@pytest.mark.parametrize(
    ("further", "knobs", "expected"),
    [
        ({}, {}, ["Organ"]),
        ({}, {"fine_tune": {"keep_unannotated": True}}, []),
        ({}, {"init_from_classes": "fresh"}, []),
        ({}, {"init_from_classes": {"vessel": "organ", "Organ": "vessel"}}, ["Organ"]),
        ({}, {"init_from_classes": {"lesion": "organ"}}, []),
        ({"annotated": {"b": ["Organ", "lesion"]}}, {}, ["vessel"]),
    ],
)
def test_known_and_not_annotated(source, folder, further, knobs, expected):
    plans = {"nnunet_ext": knobs, "configurations": {"3d_fullres": {}}}
    assert missing_classes(source(), plans, "3d_fullres", DATA | further, folder) == expected


def test_a_source_of_unknown_classes(source, folder):
    plans = {"configurations": {"3d_fullres": {}}}
    assert missing_classes(source(channels=None), plans, "3d_fullres", DATA, folder) == []


def test_regions_of_a_source_of_labels(source, folder):
    """No head is taken, and the source could not fill them in."""
    plans = {"configurations": {"3d_fullres": {}}}
    regions = DATA | {"labels": {"background": 0, "Organ": [1, 2], "lesion": [3]}}
    assert missing_classes(source(), plans, "3d_fullres", regions, folder) == []
