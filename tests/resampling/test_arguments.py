"""Mistakes in sizes and axes are named before anything is computed."""

from __future__ import annotations

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.resampling.arguments import check_arguments

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_what_is_right(axis: int | None):
    check_arguments("f", (1, 2, 3, 4), (5, 6, 0), axis)


@pytest.mark.parametrize(
    ("given", "shape", "axis", "message"),
    [
        ((2, 3, 4), (5, 6, 7), None, r"f: expected an array \(C, D, H, W\), got shape \(2, 3, 4\)"),
        ((1, 2, 3, 4), (5, 6), None, r"f: expected three sizes .* got \(5, 6\)"),
        ((1, 2, 3, 4), (5, 6, -1), None, r"f: expected three sizes .* got \(5, 6, -1\)"),
        ((1, 2, 3, 4), (5, 6, 7), -1, "f: expected separate_axis None, 0, 1 or 2, got -1"),
        ((1, 2, 3, 4), (5, 6, 7), 3, "f: expected separate_axis None, 0, 1 or 2, got 3"),
    ],
)
def test_what_is_wrong(given: tuple[int, ...], shape: tuple[int, ...], axis: int | None, message: str):
    with pytest.raises(UserError, match=message):
        check_arguments("f", given, shape, axis)
