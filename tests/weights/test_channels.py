"""The first convolution for other input channels: kernels by hand, and the response to equal channels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from nnunet_ext.weights.channels import fitted_channels


def columns(values, channels, rule="match", theirs=None, ours=None):
    """Fit a convolution with one output whose kernels are these numbers."""
    weight = torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)
    found = fitted_channels(weight, channels, rule, theirs, ours)
    assert found is not None
    assert found[0].shape == (1, channels, 1, 1)
    return [round(value, 5) for value in found[0].flatten().tolist()], found[1]


@pytest.mark.parametrize(
    ("values", "theirs", "ours", "expected", "told"),
    [
        ([1, 2], ["T1", "T2"], ["T1", "T2"], [1, 2], ""),
        ([1, 2], ["T1", "T2"], ["t2", "T1"], [2, 1], "channels t2, T1 by name"),
        ([1, 2], ["T1", "T2"], ["T2"], [2], "channels T2 by name; not taken: T1"),
        ([1, 2, 6], ["a", "b", "c"], ["c", "d"], [6, 3], "channels c by name; d: mean of the file; not taken: a, b"),
        ([4], ["CT"], ["PET", "CT"], [4, 4], "channels CT by name; PET: mean of the file"),
        ([1, 2], ["CT", "CT"], ["CT", "CT", "CT"], [1, 2, 1.5], "channels CT, CT by name; CT: mean of the file"),
        ([1, 2], ["T1", "T2"], ["a", "b"], [1, 2], "channels by position: no name matches"),
        ([1, 2], None, ["a", "b"], [1, 2], "channels by position: names unknown"),
        ([1, 2], ["a", "b"], None, [1, 2], "channels by position: names unknown"),
        ([1, 2], ["b"], ["b", "a"], [1, 2], "channels by position: names unknown"),
        ([1, 2], ["b", "a"], ["a"], [2], "channels a by name; not taken: b"),
        ([6], ["CT"], ["T1", "T2", "FLAIR"], [2, 2, 2], "kernels of the file, divided by 3"),
        ([1, 2, 6], ["a", "b", "c"], ["CT"], [9], "sum of 3 channels in the file"),
        ([1, 2, 6], None, None, [9], "sum of 3 channels in the file"),
    ],
)
def test_match(values, theirs, ours, expected, told):
    channels = len(expected)
    assert columns(values, channels, "match", theirs, ours) == (expected, told)


@pytest.mark.parametrize(
    ("values", "channels", "expected"), [([4], 1, [4]), ([1, 3], 2, [2, 2]), ([1, 3], 4, [1] * 4), ([1, 3], 1, [4])]
)
def test_mean(values, channels, expected):
    names = ["a", "b", "c", "d"]
    assert columns(values, channels, "mean", names[: len(values)], names[:channels])[0] == expected


@pytest.mark.parametrize(
    ("values", "channels", "expected"),
    [([4], 1, [4]), ([6], 3, [2, 2, 2]), ([1, 3], 2, [1, 3]), ([1, 3], 3, [0.5, 3, 0.5]), ([1, 3, 5], 2, [1, 3])],
)
def test_copy(values, channels, expected):
    assert columns(values, channels, "copy", ["a", "b", "c"][: len(values)], ["c", "b", "a"][:channels])[0] == expected


def test_fresh():
    assert fitted_channels(torch.zeros(1, 1, 3, 3), 1, "fresh", ["CT"], ["CT"]) is None


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [(rule, *numbers) for rule in ("match", "mean", "copy") for numbers in ((1, 3), (2, 4), (2, 3), (1, 1))]
    + [("match", 3, 1), ("mean", 3, 1), ("mean", 3, 2), ("mean", 3, 3)],
)
def test_the_response_to_equal_channels_stays(rule, before, after):
    torch.manual_seed(0)
    weight, image = torch.randn(4, before, 3, 3, 3), torch.randn(1, 1, 5, 6, 7)
    found = fitted_channels(weight, after, rule, None, None)
    assert found is not None
    response = functional.conv3d(image.expand(-1, after, -1, -1, -1), found[0])
    assert_close(response, functional.conv3d(image.expand(-1, before, -1, -1, -1), weight), rtol=1e-4, atol=1e-4)
