"""What ``-tr`` of ``nnunet_ext compare`` takes."""

import pytest

from nnunet_ext.comparison.arm import Arm, parse_arms
from nnunet_ext.errors import UserError


@pytest.mark.parametrize(
    ("text", "arm", "slug"),
    [
        ("LeFeDTrainer", Arm("LeFeDTrainer", "LeFeDTrainer"), "LeFeDTrainer"),
        ("LeFeD, once=T:a.b=1", Arm("LeFeD, once", "T", ("a.b=1",)), "LeFeD-once"),
        ("T:initial_lr=1e+2+a.b=x", Arm("T:initial_lr=1e+2+a.b=x", "T", ("initial_lr=1e+2", "a.b=x")), None),
        ("3 x=T:num_epochs=9", Arm("3 x", "T", ("num_epochs=9",)), "3-x"),
    ],
)
def test_texts(text, arm, slug):
    assert Arm.parse(text) == arm
    assert slug in (None, arm.slug)


@pytest.mark.parametrize("text", ["", "a=", "a=:b=1", "T:", "T:b", "+=T"])
def test_texts_that_are_none(text):
    with pytest.raises(UserError, match=r"expected \[NAME=\]TRAINER"):
        Arm.parse(text)


def test_seeds_are_for_all():
    with pytest.raises(UserError, match="expected no seed"):
        Arm.parse("T:seed=1")


def test_names_that_would_share_files():
    with pytest.raises(UserError, match="got 'a b' and 'a-b'"):
        parse_arms(["a b=T", "a-b=T"])
