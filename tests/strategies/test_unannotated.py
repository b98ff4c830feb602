"""Classes that nobody annotated, from the preprocessed cases or from dataset.json."""

from __future__ import annotations

from pathlib import Path

import pytest
from batchgenerators.utilities.file_and_folder_operations import write_pickle

from nnunet_ext.errors import UserError
from nnunet_ext.strategies.unannotated import occurring_classes, unannotated_in

CLASSES = {"liver": 1, "spleen": 2, "tumour": 3}
REGIONS = {"organ": (1, 2), "tumour": 2, "vessel": (3,)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Case a has a tumour, b liver and tumour; c, which is not trained with, all."""
    for case, there in {"a": (3,), "b": (1, 3), "c": (1, 2, 3)}.items():
        locations = {value: [[0, 1, 1, 1]] if value in there else [] for value in (1, 2, 3)}
        write_pickle({"class_locations": locations}, str(tmp_path / f"{case}.pkl"))
    return tmp_path


def test_no_training_case_has_them(folder):
    found = unannotated_in(["liver", "spleen"], CLASSES, {}, folder, ["a", "b"])
    assert found.names == found.of("a") == found.of("c") == {"spleen"}
    assert unannotated_in(["spleen"], CLASSES, {"annotated": {}}, folder, ["a", "c"]).names == set()
    assert unannotated_in(["liver", "spleen"], CLASSES, {}, folder, ["a"]).names == {"liver", "spleen"}
    assert unannotated_in([], CLASSES, {}, folder, ["a"]).names == set()


def test_regions_by_their_values(tmp_path):
    locations = {(1, 2): [[0, 0, 0, 1]], 2: [], (3,): [[0, 0, 0, 2]], (-1, 1): [[0, 0, 0, 0]]}
    write_pickle({"class_locations": locations}, str(tmp_path / "a.pkl"))
    assert occurring_classes(REGIONS, tmp_path, ["a"]) == {"organ", "vessel"}


def test_dataset_json_says_it_case_by_case(folder):
    """A case that is not mentioned was annotated for all classes; what occurs does not count."""
    annotated = {"a": ["tumour"], "b": ["tumour", "liver"]}
    found = unannotated_in(["liver", "spleen"], CLASSES, {"annotated": annotated}, folder, ["a", "b", "c"])
    assert {case: set(found.of(case)) for case in "abc"} == {"a": {"liver", "spleen"}, "b": {"spleen"}, "c": set()}
    assert found.names == {"liver", "spleen"}
    assert found.everywhere == set()


@pytest.mark.parametrize(
    ("annotated", "message"),
    [
        (["a"], "expected 'annotated' to be"),
        ({"x": ["liver"]}, "unknown case 'x'. Legal: a, b, c"),
        ({"a": "liver"}, "expected a list of classes for case 'a', got 'liver'"),
        ({"a": ["Liver"]}, "unknown class 'Liver' of case 'a'. Did you mean 'liver'"),
    ],
)
def test_mistakes_in_it(folder, annotated, message):
    with pytest.raises(UserError) as error:
        unannotated_in(["liver"], CLASSES, {"annotated": annotated}, folder, ["a"])
    assert message in str(error.value)
