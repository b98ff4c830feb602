"""Chosen classes are numbered anew, in the source's order; regions keep their nesting and what they write."""

from pathlib import Path
from typing import Any

import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_ext.collection.label_subset import check_labels, class_values, label_subset
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError

PLAIN = {"labels": {"background": 0, "a": 1, "b": 2, "c": 3, "ignore": 4}}
KIDNEY = {
    "labels": {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "cyst": 3, "ignore": 4},
    "regions_class_order": [1, 2, 3],
}


def source(description: dict[str, Any]) -> RawDataset:
    return RawDataset(Path("raw") / "Dataset004_Organs", description)


def test_class_values_in_the_order_of_the_heads() -> None:
    assert class_values(source(KIDNEY)) == {"kidney": (1, 2, 3), "masses": (2, 3), "cyst": (3,)}


def test_labels() -> None:
    found = label_subset(source(PLAIN), {"c": "see", "a": "a"})
    assert list(found.labels.items()) == [("background", 0), ("a", 1), ("see", 2), ("ignore", 3)]
    assert found.values == {0: 0, 1: 1, 2: 0, 3: 2, 4: 3}
    assert found.regions_class_order is None


def test_without_ignore() -> None:
    found = label_subset(source({"labels": {"background": 0, "a": 2, "b": 1}}), {"a": "a"})
    assert (found.labels, found.values) == ({"background": 0, "a": 1}, {0: 0, 1: 0, 2: 1})


def test_all_labels_keep_their_values() -> None:
    found = label_subset(source(PLAIN), {"a": "x", "b": "y", "c": "z"})
    assert found.values == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}


def test_regions() -> None:
    found = label_subset(source(KIDNEY), {"masses": "masses", "cyst": "cyst"})
    assert found.labels == {"background": 0, "masses": [1, 2], "cyst": [2], "ignore": 3}
    assert found.regions_class_order == [1, 2]
    assert found.values == {0: 0, 1: 0, 2: 1, 3: 2, 4: 3}


def test_an_outer_region_keeps_the_values_inside_it() -> None:
    found = label_subset(source(KIDNEY), {"kidney": "kidney", "cyst": "cyst"})
    assert found.labels == {"background": 0, "kidney": [1, 2, 3], "cyst": [3], "ignore": 4}
    assert found.regions_class_order == [1, 3]


def test_a_region_of_one_value_becomes_a_label() -> None:
    found = label_subset(source(KIDNEY), {"cyst": "cyst"})
    assert found.labels == {"background": 0, "cyst": 1, "ignore": 2}
    assert found.regions_class_order is None
    assert found.values == {0: 0, 1: 0, 2: 0, 3: 1, 4: 2}


@pytest.mark.parametrize("chosen", [["kidney"], ["masses"], ["cyst"], ["kidney", "cyst"], ["masses", "cyst"]])
def test_nnunet_takes_the_labels(chosen: list[str]) -> None:
    found = label_subset(source(KIDNEY), {name: name for name in chosen})
    manager = LabelManager(found.labels, found.regions_class_order)
    assert manager.all_labels == list(range(max(found.values.values())))
    assert len(manager.foreground_regions if manager.has_regions else manager.foreground_labels) == len(chosen)


def test_order_that_names_another_regions_value() -> None:
    wrong = source(KIDNEY | {"regions_class_order": [1, 1, 3]})
    with pytest.raises(
        UserError, match=r"'regions_class_order' to name one of the values \[2, 3\] for region 'masses'"
    ):
        label_subset(wrong, {"masses": "masses"})


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({"d": "d"}, "here: unknown label 'd' of Dataset004_Organs. Legal: a, b, c."),
        ({"ignore": "ignore"}, "here: expected classes, got 'ignore', which every part keeps anyway. Leave it out."),
        ({"background": "background"}, "here: expected classes, got 'background'"),
        ({"a": "x", "b": "x"}, "here: expected a name of its own for each class"),
        ({"a": "ignore"}, "here: expected a name of its own for each class"),
        ({"a": ""}, "here: expected a name of its own for each class"),
    ],
)
def test_refused(chosen: dict[str, str], found: str) -> None:
    with pytest.raises(UserError) as caught:
        check_labels(chosen, source(PLAIN), "here")
    assert str(caught.value).startswith(found)
