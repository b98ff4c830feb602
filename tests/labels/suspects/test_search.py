"""Planted faults are on top, each with its reason; a clean set has none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage


def flipped(labels):
    return np.flip(labels, 0)


def shifted(labels):
    return np.roll(labels, 3, 0)


def swapped(labels):
    return np.array([0, 2, 1])[labels]


def eroded(labels):
    kept = ndimage.binary_erosion(labels == 1, iterations=2)
    return np.where((labels == 1) & ~kept, 0, labels)


def without_component(labels):
    components, _ = ndimage.label(labels == 2)
    smaller = 1 + int(np.argmin(np.bincount(components.ravel())[1:]))
    return np.where(components == smaller, 0, labels)


def test_a_clean_set_has_no_reason(blobs):
    found = blobs.search()
    assert [case.reasons for case in found.cases] == [()] * 12
    assert all(case.measures.problem is None for case in found.cases)


def test_each_fault_is_on_top_with_its_reason(blobs):
    for number, fault in enumerate((flipped, shifted, swapped, eroded, without_component)):
        blobs.change(number, fault)
    found = blobs.search()
    first = {case.measures.name: case.reasons[0] for case in found.cases[:5]}
    assert all(case.reasons == () for case in found.cases[5:])
    assert {name: reason.kind for name, reason in first.items()} == {
        "case_00": "mirrored",
        "case_01": "shifted",
        "case_02": "swapped",
        "case_03": "distance",
        "case_04": "missed",
    }
    assert first["case_00"].text == "the label is mirrored along z"
    assert first["case_01"].text == "the label is shifted by (0, 0, 3) voxels"
    assert first["case_02"].text.startswith("labels 1 (liver) and 2 (spleen) are swapped: at least 9")
    assert first["case_03"].text.startswith("label 1 (liver) is drawn too small: its surface lies ")
    assert first["case_04"].text.startswith("label 2 (spleen): 1 component of ")
    classes = {case.measures.name: case.classes for case in found.cases[:5]}
    assert classes["case_00"] == classes["case_02"] == ("liver", "spleen")
    assert (classes["case_03"], classes["case_04"]) == (("liver",), ("spleen",))


@pytest.mark.parametrize("axis", range(3))
def test_a_flip_along_any_axis(blobs, axis):
    blobs.change(3, lambda labels: np.flip(labels, axis))
    assert blobs.search().cases[0].reasons[0].text == f"the label is mirrored along {'zyx'[axis]}"
