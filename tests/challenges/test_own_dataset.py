"""Classes and regions of a dataset.json."""

from __future__ import annotations

from typing import Any

import pytest

from nnunet_ext.challenges.own_dataset import own_dataset
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import EmptyRule, diagonal, parse_metrics

pytestmark = pytest.mark.smoke


def test_regions_and_ignore() -> None:
    labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    found = own_dataset({"labels": labels, "file_ending": ".nrrd"}, parse_metrics("dice,hd95"), count_both_empty=False)
    assert [(each.name, each.labels) for each in found.structures] == [("whole", (1, 2)), ("core", (2,))]
    assert (found.labels, found.ignore, found.ending) == ((1, 2), 3, ".nrrd")
    assert found.columns == ("whole dice", "core dice", "whole hd95", "core hd95")
    assert found.spacing_of == "reference"


@pytest.mark.parametrize(("count", "dice", "distance"), [(True, 1.0, 0.0), (False, None, None)])
def test_rules(count: bool, dice: float | None, distance: float | None) -> None:
    description = {"labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}
    found = own_dataset(description, parse_metrics("dice,nsd@1mm,hd95,hd95_area"), count_both_empty=count)
    rules = [measure.empty for measure in found.structures[0].measures]
    assert rules == [
        EmptyRule(dice, 0.0),
        EmptyRule(dice, 0.0),
        EmptyRule(distance, diagonal),
        EmptyRule(distance, diagonal),
    ]
    assert found.ignore is None


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ({"labels": {"background": 0, "ignore": 1}, "file_ending": ".nii.gz"}, r"a/d\.json: expected a class besides"),
        ({"labels": {"background": 0, "a": 1}}, r"a/d\.json: expected 'file_ending' to start with a dot, found None"),
        ({"labels": {"background": 0, "a": 1}, "file_ending": "nii.gz"}, "found 'nii.gz'"),
    ],
)
def test_descriptions_that_are_wrong(description: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        own_dataset(description, parse_metrics("dice"), count_both_empty=False, where="a/d.json")
