"""The source's order of axes where the data are as anisotropic in it; else the data's own."""

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.transposition import decide_transposition


def test_the_same_in_both(source, own):
    decision = decide_transposition(source(), own(), "3d_fullres")
    assert (decision.origin, decision.value) == ("both", [0, 1, 2])


@pytest.mark.parametrize(
    ("spacing", "shape", "theirs", "origin", "value"),
    [
        ((1.0, 1.2, 1.0), (40, 40, 40), (1.0, 1.0, 1.0), "source", [0, 1, 2]),  # the planner would put axis 1 first
        ((1.0, 3.0, 1.0), (40, 20, 40), (1.0, 1.0, 1.0), "target", [1, 0, 2]),
        ((1.0, 3.0, 1.0), (40, 20, 40), (3.0, 1.0, 1.0), "target", [1, 0, 2]),
        ((1.0, 1.6, 1.0), (40, 20, 40), (1.0, 1.0, 1.0), "target", [1, 0, 2]),
        ((2.0, 2.4, 2.0), (40, 40, 40), (0.5, 0.5, 0.5), "source", [0, 1, 2]),  # the ratio counts, not the size
    ],
)
def test_anisotropy_decides(source, own, spacing, shape, theirs, origin, value):
    decision = decide_transposition(source(spacing=theirs), own(spacing=spacing, shape=shape), "3d_fullres")
    assert (decision.origin, decision.value) == (origin, value)


def test_2d_counts_the_distance_of_slices(source, own):
    mine = own(spacing=(1.0, 3.0, 1.0), shape=(40, 20, 40))
    sliced = {"configuration": "2d", "spacing": (1.0, 1.0), "transpose": (1, 2, 0)}
    assert decide_transposition(source(**sliced, median=3.0), mine, "2d").value == [1, 2, 0]
    assert decide_transposition(source(**sliced, median=1.0), mine, "2d").value == [1, 0, 2]


def test_plans_that_do_not_tell_it(source, own):
    flat = source(configuration="2d", spacing=(1.0, 1.0), transpose=(1, 2, 0))
    del flat.plans["original_median_spacing_after_transp"]
    decision = decide_transposition(flat, own(spacing=(1.0, 3.0, 1.0), shape=(40, 20, 40)), "2d")
    assert (decision.origin, decision.value) == ("target", [1, 0, 2])
    assert decision.why.endswith("the source's was unknown")


@pytest.mark.parametrize(("wanted", "value"), [("source", [1, 2, 0]), ("target", [0, 1, 2]), ([2, 1, 0], [2, 1, 0])])
def test_what_the_user_says(source, own, wanted, value):
    decision = decide_transposition(source(transpose=(1, 2, 0)), own(), "3d_fullres", wanted)
    assert (decision.origin, decision.value) == ("flag", value)


def test_an_axis_twice(source, own):
    with pytest.raises(UserError, match=r"--transpose 0 1 1: expected 0, 1 and 2 in some order"):
        decide_transposition(source(), own(), "3d_fullres", [0, 1, 1])
