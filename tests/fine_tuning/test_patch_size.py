"""The planner's patch, rounded to what the source's network takes, within memory; refused where there is none."""

import numpy as np
import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.patch_size import decide_patch_size
from nnunet_ext.fine_tuning.source_network import SourceNetwork
from nnunet_ext.methods.baseline.planner import LitePlanner

SHAPE = (24, 60, 50)


def decide(source, own, planned, wanted=None, shape=SHAPE):
    return decide_patch_size(SourceNetwork(source), own, planned, np.asarray(shape, dtype=float), wanted)


@pytest.mark.parametrize(
    ("planned", "value"),
    [
        ([24, 64, 56], [24, 64, 56]),
        ([26, 60, 51], [28, 64, 48]),  # divisor 4 x 8 x 8; a half is rounded up
        ([5, 8, 8], [8, 8, 8]),  # more than a voxel at the bottleneck
        ([1, 3, 17], [4, 8, 16]),
    ],
)
def test_rounded_to_multiples(source, own, planned, value):
    decision = decide(source(), own(), planned)
    assert (decision.origin, decision.value) == ("target", value)
    assert ("rounded to multiples of 4 x 8 x 8" in decision.why) == (planned != value)


def test_the_source_network_must_fit_into_memory(source, own):
    """LitePlanner counts voxels: 90,000 for two samples."""
    decision = decide(source(), own(LitePlanner), [24, 96, 88])
    assert decision.value == [24, 64, 56]  # the axes that are longest for images of 24 x 60 x 50
    assert "24 x 96 x 88 with the source's network needs more memory than planned for" in decision.why


def test_a_wider_network_gets_a_smaller_patch(source, own):
    mine = own(memory=0.3)
    thin = decide(source(features=(2, 2, 2, 2)), mine, [24, 64, 56]).value
    wide = decide(source(features=(64, 64, 64, 64)), mine, [24, 64, 56]).value
    assert thin == [24, 64, 56]
    assert np.prod(wide) < np.prod(thin)


def test_no_patch_fits_into_memory(source, own):
    with pytest.raises(UserError, match=r"smallest patch, 8 8 8, fits into the planned memory, but it needs .* times"):
        decide(source(features=(64, 64, 64, 64)), own(memory=0.0005), [24, 64, 56])


def test_images_smaller_than_the_bottleneck(source, own):
    mine = own()
    with pytest.raises(UserError) as error:
        decide(source(), mine, [4, 8, 8], shape=(24, 3, 50))
    assert "8 voxels or more along axis 1 of the plans, found 3" in str(error.value)
    assert str(error.value).endswith("or pad with --patch_size 8 8 8.")
    assert decide(source(), mine, [4, 8, 8], shape=(24, 4, 50)).value == [8, 8, 8]
    assert decide(source(), mine, [4, 8, 8], [8, 8, 8], shape=(24, 3, 50)).origin == "flag"


def test_what_the_user_says(source, own):
    mine = own(LitePlanner)
    for wanted, value in (("source", [16, 32, 32]), ([20, 64, 8], [20, 64, 8])):
        decision = decide(source(), mine, [24, 64, 56], wanted)
        assert (decision.origin, decision.value, decision.warning) == ("flag", value, "")
    decision = decide(source(), mine, [25, 60, 51], "target")
    assert (decision.origin, decision.value) == ("flag", [24, 64, 48])
    decision = decide(source(), mine, [24, 64, 56], [24, 64, 120])
    assert "a batch of 2 needs 2 times the planned memory" in decision.warning


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ([16, 30, 32], "expected multiples of 4 8 8, which the source's strides divide"),
        ([16, 30, 32], "Nearest: 16 32 32."),
        ([4, 8, 8], "Nearest: 8 8 8."),
        ([32, 32], "expected 3 numbers, one for each axis, got 2"),
    ],
)
def test_numbers_that_the_network_cannot_take(source, own, wanted, text):
    with pytest.raises(UserError) as error:
        decide(source(), own(), [24, 64, 56], wanted)
    assert text in str(error.value)


def test_a_network_that_says_nothing_about_patches(source, own):
    network, mine = SourceNetwork(source()), own()
    network.network = object()
    decision = decide_patch_size(network, mine, [24, 64, 56], np.asarray(SHAPE, dtype=float))
    assert (decision.origin, decision.value) == ("source", [16, 32, 32])
    with pytest.raises(UserError, match=r"--patch_size target: .*PlainConvUNet does not say"):
        decide_patch_size(network, mine, [24, 64, 56], np.asarray(SHAPE, dtype=float), "target")
