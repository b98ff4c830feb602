"""Which class is which of the source's."""

from __future__ import annotations

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.weights.class_matching import is_class_matching, matched_roles
from nnunet_ext.weights.roles import Roles

BACK = "background"


@pytest.mark.parametrize("value", ["by_name", "fresh", {"a": "b"}, {"a": "b", "b": "a"}])
def test_legal(value):
    assert is_class_matching(value)


@pytest.mark.parametrize("value", [None, True, "name", "", {}, {"a": 1}, {1: "a"}, {"a": "c", "b": "c"}, ["by_name"]])
def test_illegal(value):
    assert not is_class_matching(value)


@pytest.mark.parametrize(
    ("theirs", "ours", "classes", "expected"),
    [
        ((BACK, "liver", "spleen"), (BACK, "Leber", "spleen"), {"Leber": "liver"}, (BACK, "Leber", "spleen")),
        ((BACK, "a", "b"), (BACK, "a", "b"), {"a": "b", "b": "a"}, (BACK, "b", "a")),
        ((BACK, "a", "b"), (BACK, "a"), {"a": "b"}, (BACK, "a of the source", "a")),
        ((BACK, "A", "b"), (BACK, "a"), {"a": "b"}, (BACK, "A of the source", "a")),
        (("whole", "core"), ("all", "core"), {"all": "whole"}, ("all", "core")),
    ],
)
def test_renamed(theirs, ours, classes, expected):
    assert matched_roles(Roles(outputs=theirs), Roles(outputs=ours), classes, "here").outputs == expected


@pytest.mark.parametrize("classes", ["by_name", "fresh"])
def test_nothing_to_rename(classes):
    theirs = Roles(("CT",), None)
    assert matched_roles(theirs, Roles(), classes, "here") is theirs


def test_labels_of_the_stage_before():
    theirs = Roles(("CT", "previous stage: liver", "previous stage: spleen"), (BACK, "liver", "spleen"))
    found = matched_roles(theirs, Roles(outputs=(BACK, "Leber")), {"Leber": "liver"}, "here")
    assert found.channels == ("CT", "previous stage: Leber", "previous stage: spleen")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"Lebr": "liver"}, "here: unknown class 'Lebr' of the data. Did you mean 'Leber'? Legal: Leber, tumour."),
        ({"Leber": "livr"}, "here: unknown class 'livr' of the source. Did you mean 'liver'? Legal: liver, spleen."),
        ({BACK: "liver"}, "unknown class 'background' of the data"),
        ({"Leber": BACK}, "unknown class 'background' of the source"),
    ],
)
def test_unknown_names(classes, message):
    theirs, ours = Roles(outputs=(BACK, "liver", "spleen")), Roles(outputs=(BACK, "Leber", "tumour"))
    with pytest.raises(UserError) as error:
        matched_roles(theirs, ours, classes, "here")
    assert message in str(error.value)


@pytest.mark.parametrize(("theirs", "ours", "side"), [(None, (BACK, "a"), "source"), ((BACK, "a"), None, "data")])
def test_unknown_classes(theirs, ours, side):
    with pytest.raises(UserError, match=f"here: expected classes of the {side}, which are not known"):
        matched_roles(Roles(outputs=theirs), Roles(outputs=ours), {"a": "a"}, "here")
