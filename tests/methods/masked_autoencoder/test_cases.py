"""Which images are trained and validated on."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.methods.masked_autoencoder.cases import PretrainingCases

A, B = Path("labelled"), Path("unlabelled")
UN = [f"u{number}" for number in range(20)]


def of(train, val, unlabelled) -> PretrainingCases:
    return PretrainingCases.of((A, train, val), (B, unlabelled), "Dataset007_X")


def test_the_folds_validation_cases_are_never_trained_on():
    found = of(["a", "b"], ["c"], ["x"])
    assert found.train == {"labelled": ["a", "b"], "unlabelled": ["x"]}
    assert found.val == {"labelled": ["c"]}
    assert found.line() == "Pre-training on 3 images, validated on 1"


def test_cases_that_are_trained_on_are_not_validated_on():
    """As in the fold all."""
    found = of(["a", "b"], ["a", "b"], UN)
    val = [name for names in found.val.values() for name in names]
    train = [name for names in found.train.values() for name in names]
    assert len(val) == 2
    assert sorted(train + val) == sorted(["a", "b", *UN])
    assert "held out because the fold has no other" in found.line()
    assert of(["b", "a"], ["a", "b"], UN[::-1]) == found


def test_without_labelled_images_the_fold_all_validates_on_them():
    assert of([], ["a", "b"], ["x"]).val == {"labelled": ["a", "b"]}


def test_unlabelled_images_alone():
    found = of([], [], UN)
    assert (len(found.train["unlabelled"]), len(found.val["unlabelled"])) == (18, 2)
    assert found.train["labelled"] == []


def test_no_image_and_one_image_are_refused():
    with pytest.raises(UserError, match="Dataset007_X: expected images to pre-train on, found none: no unlabelled"):
        of([], ["c"], [])
    with pytest.raises(UserError, match=r"expected at least two images, .*, found one, 'x'"):
        of([], [], ["x"])
