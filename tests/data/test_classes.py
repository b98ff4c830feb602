"""Names of labels and of regions."""

import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_ext.data.classes import foreground_classes, map_names, summary_names


def test_labels():
    description = {"labels": {"background": 0, "tumour": 2, "organ": 1, "ignore": 3}}
    assert summary_names(description) == {"2": "tumour", "1": "organ"}
    assert map_names(description) == {2: "tumour", 1: "organ"}


def test_regions():
    labels = {"background": 0, "whole": [1, 2, 3], "core": [3], "edge": 2, "ignore": 4}
    description = {"labels": labels, "regions_class_order": [1, 3, 2]}
    assert summary_names(description) == {"(1, 2, 3)": "whole", "(3,)": "core", "2": "edge"}
    assert map_names(description) == {1: "whole", 3: "core", 2: "edge"}


@pytest.mark.parametrize(
    ("labels", "order", "expected"),
    [
        ({"background": 0, "tumour": 2, "liver": 1, "ignore": 3}, None, {"liver": 1, "tumour": 2}),
        ({"b": 2, "background": 0, "a": [1]}, None, {"a": 1, "b": 2}),
        (
            {"background": 0, "core": [3], "all": [1, 2, 3], "edge": 2},
            [3, 1, 2],
            {"core": (3,), "all": (1, 2, 3), "edge": 2},
        ),
    ],
)
def test_the_order_of_nnunets_statistics(labels, order, expected):
    found = foreground_classes({"labels": labels})
    assert list(found.items()) == list(expected.items())
    manager = LabelManager(labels, order)
    assert list(found.values()) == (manager.foreground_regions if manager.has_regions else manager.foreground_labels)
    assert list(summary_names({"labels": labels})) == [str(value) for value in expected.values()]


def test_names_of_one_label_are_one_class():
    assert foreground_classes({"labels": {"background": 0, "b": 2, "left": 1, "right": 1}}) == {
        "left / right": 1,
        "b": 2,
    }
