"""Training and prediction mirror along the axes of the images that the source's training mirrored."""

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.fine_tuning_plans import FineTuningPlans, Wanted
from nnunet_ext.fine_tuning.mirroring import decide_mirroring


@pytest.mark.parametrize(
    ("axes", "transpose", "expected"),
    [
        ((0, 1), (0, 1, 2), [0, 1]),
        (None, (0, 1, 2), []),
        ((), (0, 1, 2), []),
        ((2,), (2, 0, 1), [0]),
        ((0, 1), (2, 0, 1), [1, 2]),
        ((0,), (1, 2, 0), [2]),
    ],
)
def test_axes_follow_the_images(source, axes, transpose, expected):
    decision = decide_mirroring(source(mirroring=axes), transpose)
    assert (decision.origin, decision.value) == ("source", expected)
    assert decision.shown == (f"along {', '.join(map(str, expected))}" if expected else "none")


def test_from_the_order_of_the_source(source):
    """Its axes 0 and 1 are 1 and 2 of the images."""
    assert decide_mirroring(source(mirroring=(0, 1), transpose=(1, 2, 0)), (0, 1, 2)).value == [1, 2]
    assert decide_mirroring(source(mirroring=(0, 1), transpose=(1, 2, 0)), (1, 2, 0)).value == [0, 1]


def test_2d_counts_the_axes_of_a_patch(source):
    """Axis 0 of its patches is 1 of the images, axis 1 is 2; which of them is no axis of a patch is left out."""
    flat = {"configuration": "2d", "spacing": (1.0, 1.0)}
    assert decide_mirroring(source(**flat, mirroring=(0,)), (0, 1, 2)).value == [0]
    assert decide_mirroring(source(**flat, mirroring=(0,)), (0, 2, 1)).value == [1]
    assert decide_mirroring(source(**flat, mirroring=(0, 1)), (1, 0, 2)).value == [1]
    assert decide_mirroring(source(**flat, mirroring=(0, 1)), (0, 1, 2)).origin == "both"


def test_all_in_both(source):
    decision = decide_mirroring(source(), (2, 0, 1))
    assert (decision.origin, decision.value) == ("both", [0, 1, 2])


@pytest.mark.parametrize(
    ("wanted", "expected"), [("source", [0]), ("target", [0, 1, 2]), ([2, 1], [1, 2]), ([], []), ([0, 1, 2], [0, 1, 2])]
)
def test_what_the_user_says(source, wanted, expected):
    decision = decide_mirroring(source(mirroring=(0,)), (0, 1, 2), wanted)
    assert (decision.origin, decision.value) == ("flag", expected)


@pytest.mark.parametrize(("wanted", "settings"), [([0, 0], {}), ([2], {"configuration": "2d", "spacing": (1.0, 1.0)})])
def test_axes_that_there_are_not(source, wanted, settings):
    with pytest.raises(UserError, match=r"--mirror_axes .*: expected axes from 0 to [12], each at most once"):
        decide_mirroring(source(**settings), (0, 1, 2), wanted)


def test_the_knob_is_null_where_all_axes_are_mirrored(source, own):
    mine = own(spacing=(1.0, 1.0, 2.5), shape=(60, 50, 24))

    def knob(model, **wanted):
        return FineTuningPlans.make(model, mine, "FineTunePlans", Wanted(**wanted)).mirror_axes

    assert knob(source()) is None
    assert knob(source(mirroring=None)) == []
    assert knob(source(mirroring=None), mirror_axes="target") is None
    assert knob(source(mirroring=(0, 1))) == [1, 2]  # the last axis of the images is the first of the plans
