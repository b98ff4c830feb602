"""Kernels of another size: what must stay the same function does."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from nnunet_ext.weights.kernels import fitted_kernel


def fitted(weight, size, *, transposed=False):
    found = fitted_kernel(weight, size, transposed=transposed)
    assert found is not None
    return found


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(2, 3, 7, 9, 8)


@pytest.mark.parametrize(("old", "new"), [((1, 3, 3), (3, 3, 3)), ((3, 3, 3), (5, 3, 7)), ((1, 1, 1), (3, 3, 3))])
def test_a_smaller_kernel_is_the_same_function_within_a_larger_one(x, old, new):
    weight = torch.randn(4, 3, *old)
    larger, _ = fitted(weight, new)
    assert larger.shape[2:] == new
    before = functional.conv3d(x, weight, padding=[length // 2 for length in old])
    assert_close(functional.conv3d(x, larger, padding=[length // 2 for length in new]), before)


@pytest.mark.parametrize(("old", "new"), [((3, 3, 3), (1, 3, 3)), ((7, 3, 3), (3, 3, 3)), ((5, 3, 3), (1, 3, 3))])
def test_a_larger_kernel_is_the_same_function_of_what_is_constant_along_the_axis(x, old, new):
    weight = torch.randn(4, 3, *old)
    constant = x[:, :, :1].expand(-1, -1, 9, -1, -1)
    smaller, _ = fitted(weight, new)
    assert smaller.shape[2:] == new
    before = functional.conv3d(constant, weight, padding=(old[0] // 2, 1, 1))[:, :, 4]  # far from the zeros outside
    assert_close(functional.conv3d(constant, smaller, padding=(new[0] // 2, 1, 1))[:, :, 4], before)


def test_planes_that_a_smaller_kernel_lacks_are_added_to_its_outermost_ones():
    weight = torch.tensor([1.0, 2, 4, 8, 16, 32, 64]).reshape(1, 1, 1, 7)
    assert fitted(weight, (1, 3))[0].flatten().tolist() == [7, 8, 112]
    assert weight.flatten().tolist() == [1, 2, 4, 8, 16, 32, 64]


@pytest.mark.parametrize(("old", "new"), [((1, 2, 2), (2, 2, 2)), ((1, 1, 2), (2, 2, 2)), ((2, 2, 2), (4, 2, 2))])
def test_a_transposed_convolution_of_a_larger_stride_repeats_what_it_wrote(x, old, new):
    weight = torch.randn(3, 4, *old)
    after = functional.conv_transpose3d(x, fitted(weight, new, transposed=True)[0], stride=new)
    before = functional.conv_transpose3d(x, weight, stride=old)
    for axis, (there, here) in enumerate(zip(old, new, strict=True), start=2):
        before = before.repeat_interleave(here // there, axis)
    assert_close(after, before)


def test_a_transposed_convolution_of_a_smaller_stride_writes_the_mean(x):
    weight = torch.randn(3, 4, 2, 2, 2)
    after = functional.conv_transpose3d(x, fitted(weight, (1, 2, 2), transposed=True)[0], stride=(1, 2, 2))
    before = functional.conv_transpose3d(x, weight, stride=2).unflatten(2, (-1, 2)).mean(3)
    assert_close(after, before)


@pytest.mark.parametrize(
    ("old", "new", "transposed"), [((2, 3), (3, 3), False), ((3, 3), (2, 3), False), ((2, 2), (3, 2), True)]
)
def test_there_is_no_rule_for_these(old, new, transposed):
    assert fitted_kernel(torch.zeros(2, 2, *old), new, transposed=transposed) is None


def test_2d_and_3d_are_not_bridged():
    assert fitted_kernel(torch.zeros(2, 2, 3, 3), (3, 3, 3), transposed=False) is None


def test_what_was_done_is_told():
    assert fitted(torch.zeros(1, 1, 1, 3, 3), (3, 3, 3))[1] == "kernel 1x3x3 in the file, now in the middle of 3x3x3"
    assert fitted(torch.zeros(1, 1, 3, 3, 3), (1, 1, 3))[1] == "kernel 3x3x3 in the file, now summed to 1x1x3"
    mixed = fitted(torch.zeros(1, 1, 2, 1, 2), (1, 2, 2), transposed=True)[1]
    assert mixed == "kernel 2x1x2 in the file, now averaged to and repeated to 1x2x2"
