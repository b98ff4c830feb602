"""The source's order of axes where the data are as anisotropic in it; else the data's own."""

import shutil
from pathlib import Path

import nnunetv2.paths as paths
import pytest
from nnssl_checkpoint import network_of

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


THICK = {"spacing": (1.0, 1.0, 4.0), "shape": (40, 40, 20)}  # the planner puts axis 2 first


@pytest.mark.parametrize(
    ("spacing", "value"),
    [(None, [2, 0, 1]), ("target", [2, 0, 1]), ("source", [0, 1, 2]), ([1.0, 1.2, 1.0], [0, 1, 2])],
)
def test_the_spacing_that_is_used_decides(source, own, spacing, value):
    model = source(spacing=(1.0, 1.0, 1.0))
    assert decide_transposition(model, own(**THICK), "3d_fullres", None, spacing).value == value


def test_numbers_are_in_the_order_of_the_images(source, own):
    model = source(spacing=(3.0, 1.0, 1.0), transpose=(1, 0, 2))
    mine = own(**THICK)
    assert decide_transposition(model, mine, "3d_fullres", None, [1.0, 3.0, 1.0]).value == [1, 0, 2]
    assert decide_transposition(model, mine, "3d_fullres", None, [3.0, 1.0, 1.0]).value == [2, 0, 1]


def test_slices_of_2d_keep_their_distance(source, own):
    flat = {"configuration": "2d", "spacing": (1.0, 1.0), "transpose": (1, 0, 2)}
    mine = own(**THICK)
    # slices along axis 1 have 1 mm; those of the source had 1 mm, or 3
    assert decide_transposition(source(**flat, median=1.0), mine, "2d", None, "source").value == [1, 0, 2]
    assert decide_transposition(source(**flat, median=3.0), mine, "2d", None, "source").value == [2, 0, 1]
    assert decide_transposition(source(**flat, median=3.0), mine, "2d", None, [1.0, 3.0, 1.0]).value == [2, 0, 1]


def test_a_network_whose_axes_are_alike_keeps_its_order(source, own):
    alike = {"kernel_sizes": [[3, 3, 3]] * 4, "strides": [1, 2, [2, 2, 2], [2, 2, 2]]}
    for change, value in (
        (alike, [0, 1, 2]),
        (alike | {"kernel_sizes": 3, "strides": [1, 2, 2, 2]}, [0, 1, 2]),
        (alike | {"kernel_sizes": [[1, 3, 3]] + [[3, 3, 3]] * 3}, [2, 0, 1]),
        (alike | {"strides": [1, [1, 2, 2], 2, 2]}, [2, 0, 1]),
    ):
        model = source(spacing=(1.0, 1.0, 1.0))
        model.architecture["arch_kwargs"].update(change)
        decision = decide_transposition(model, own_again(own), "3d_fullres")
        assert decision.value == value
        assert (decision.why == "its kernels and strides are equal along all axes") == (value == [0, 1, 2])
    model.architecture["arch_kwargs"] = {"n_stages": 4}
    assert decide_transposition(model, own_again(own), "3d_fullres").value == [2, 0, 1]


def own_again(own):
    for place in (paths.nnUNet_raw, paths.nnUNet_preprocessed):
        shutil.rmtree(Path(str(place)), ignore_errors=True)
    return own(**THICK)


def test_another_order_than_the_source_s_is_a_warning(source, own):
    model, mine = source(spacing=(1.0, 1.0, 1.0)), own(**THICK)
    expected = (
        "transposition: the weights have learned structures along axes in the order 0 x 1 x 2, and now see them along "
        "2 x 0 x 1; --transpose source keeps their order"
    )
    assert decide_transposition(model, mine, "3d_fullres").warning == expected
    assert decide_transposition(model, mine, "3d_fullres", "target").warning == expected
    assert decide_transposition(model, mine, "3d_fullres", [2, 0, 1]).warning == expected
    assert decide_transposition(model, mine, "3d_fullres", "source").warning == ""
    assert decide_transposition(model, mine, "3d_fullres", None, "source").warning == ""


def test_an_axis_twice(source, own):
    with pytest.raises(UserError, match=r"--transpose 0 1 1: expected 0, 1 and 2 in some order"):
        decide_transposition(source(), own(), "3d_fullres", [0, 1, 1])


def test_a_pre_training_whose_kernels_differ_between_axes_and_that_has_no_spacing(pretrained, own):
    network = network_of(strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]])
    model = pretrained(network, spacing_style="noresample", transpose_forward=[1, 0, 2])
    mine = own(**THICK)
    for spacing in (None, "source"):
        decision = decide_transposition(model, mine, "3d_fullres", None, spacing)
        assert (decision.value, decision.origin) == ([2, 0, 1], "target")
        assert decision.why.endswith("and the source's was unknown")
    equal = pretrained(transpose_forward=[1, 0, 2], spacing_style="noresample")
    assert decide_transposition(equal, mine, "3d_fullres").value == [1, 0, 2]
