"""The source's spacing where structures look alike at it; else the data's, with a warning."""

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.spacing import decide_spacing


@pytest.mark.parametrize(
    ("theirs", "origin"),
    [
        ((3.0, 1.0, 1.0), "source"),
        ((3.75, 1.5, 1.0), "source"),  # 1.5 is within
        ((1.67, 1.0, 1.0), "source"),
        ((3.8, 1.0, 1.0), "target"),
        ((2.5, 0.66, 1.0), "target"),
    ],
)
def test_near_and_far(source, own, theirs, origin):
    decision, full = decide_spacing(source(spacing=theirs), own(), "3d_fullres", (0, 1, 2))
    assert decision.origin == origin
    assert decision.value == pytest.approx(theirs if origin == "source" else (2.5, 1.0, 1.0))
    assert full == pytest.approx(decision.value)
    assert (decision.warning == "") == (origin == "source")


def test_the_warning_says_how_many_voxels(source, own):
    decision, _ = decide_spacing(source(spacing=(5.0, 0.5, 1.0)), own(), "3d_fullres", (0, 1, 2))
    assert "structures have 2 x 0.5 x 1 times the voxels" in decision.warning


def test_axes_are_compared_after_transposition(source, own):
    mine = own(spacing=(1.0, 1.0, 3.0), shape=(60, 50, 24))
    decision, full = decide_spacing(source(spacing=(2.5, 1.2, 1.1)), mine, "3d_fullres", (2, 0, 1))
    assert (decision.origin, decision.value, full) == ("source", [2.5, 1.2, 1.1], [1.2, 1.1, 2.5])


def test_finer_images_do_not_go_without_saying(source, own):
    mine = own()
    decision, _ = decide_spacing(source(spacing=(2.5, 0.8, 1.0)), mine, "3d_fullres", (0, 1, 2))
    assert decision.why.endswith("2.5 x 1 x 1 in the median, are resampled to 1.25 times their voxels")
    decision, _ = decide_spacing(source(spacing=(2.5, 0.96, 1.0)), mine, "3d_fullres", (0, 1, 2))
    assert "resampled" not in decision.why


@pytest.mark.parametrize(
    ("wanted", "value"),
    [("source", [5.0, 1.0, 1.0]), ("target", [2.5, 1.0, 1.0]), ([4.0, 2.0, 1.5], [4.0, 2.0, 1.5])],
)
def test_what_the_user_says(source, own, wanted, value):
    decision, _ = decide_spacing(source(spacing=(5.0, 1.0, 1.0)), own(), "3d_fullres", (0, 1, 2), wanted)
    assert (decision.origin, decision.value) == ("flag", value)
    assert (decision.warning == "") == (wanted == "source")


def test_numbers_of_the_user_are_in_the_order_of_the_images(source, own):
    mine = own(spacing=(1.0, 1.0, 3.0), shape=(60, 50, 24))
    decision, full = decide_spacing(source(), mine, "3d_fullres", (2, 0, 1), [1.0, 2.0, 3.0])
    assert (decision.value, full) == ([3.0, 1.0, 2.0], [1.0, 2.0, 3.0])


def test_2d_leaves_the_distance_of_slices(source, own):
    flat = source(configuration="2d", spacing=(1.2, 0.9))
    decision, full = decide_spacing(flat, own(), "2d", (0, 1, 2))
    assert (decision.origin, decision.value, full) == ("source", [1.2, 0.9], [2.5, 1.2, 0.9])


def test_a_pre_training_on_images_that_were_not_resampled(pretrained, own):
    mine, model = own(), pretrained(spacing_style="noresample")
    decision, full = decide_spacing(model, mine, "3d_fullres", (0, 1, 2))
    assert (decision.origin, decision.value, full) == ("target", [2.5, 1.0, 1.0], [2.5, 1.0, 1.0])
    assert decision.why == "the source's adaptation plan names no spacing that all its images were resampled to"
    decision, _ = decide_spacing(model, mine, "3d_fullres", (0, 1, 2), [5.0, 2.0, 2.0])
    assert (decision.origin, decision.value, decision.warning) == ("flag", [5.0, 2.0, 2.0], "")
    with pytest.raises(
        UserError, match="--spacing source: the source's adaptation plan names no spacing that all its images"
    ):
        decide_spacing(model, mine, "3d_fullres", (0, 1, 2), "source")
