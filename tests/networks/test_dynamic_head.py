"""The dynamic head, against plain convolutions and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from torch.nn import functional
from torch.testing import assert_close

from nnunet_ext.networks.dynamic_head import LIMIT, DynamicHead, bounded


def by_convolutions(features: torch.Tensor, vector: torch.Tensor, heads: int, width: int, depth: int) -> torch.Tensor:
    """One sample (w, D, H, W), a convolution for each layer."""
    sizes = [width] * depth + [heads]
    x, weights, biases = features[None], 0, depth * width * width - width * width + heads * width
    for layer in range(depth):
        inputs, outputs = sizes[layer], sizes[layer + 1]
        kernel = vector[weights : weights + inputs * outputs].reshape(outputs, inputs, 1, 1, 1)
        x = functional.conv3d(x.relu() if layer else x, kernel, vector[biases : biases + outputs])
        weights, biases = weights + inputs * outputs, biases + outputs
    return x[0]


def test_numbers_worked_out_by_hand():
    head = DynamicHead(3, width=2, depth=2)
    assert head.parameter_count == 2 * 2 + 3 * 2 + 2 + 3
    vector = torch.tensor([[1.0, 2, -1, 1, 1, 0, 0, 1, 2, -1, 10, 20, 0.5, 0.25, -1]])
    features = torch.tensor([3.0, 5]).reshape(1, 2, 1, 1)
    # first layer: 3 + 2*5 + 10 = 23, -3 + 5 + 20 = 22; last: 23 + .5, 22 + .25, 46 - 22 - 1
    assert head(features, vector).flatten().tolist() == [23.5, 22.25, 23]
    vector[0, 10] = -40  # -27 is cut to 0
    assert head(features, vector).flatten().tolist() == [0.5, 22.25, -23]


@pytest.mark.parametrize(("heads", "width", "depth"), [(2, 8, 3), (5, 4, 1), (1, 3, 4)])
def test_every_sample_has_its_own_kernels(heads, width, depth):
    torch.manual_seed(0)
    head = DynamicHead(heads, width=width, depth=depth)
    assert head.parameter_count == (depth - 1) * (width * width + width) + width * heads + heads
    features, vectors = torch.randn(3, width, 2, 4, 3), torch.randn(3, head.parameter_count)
    expected = [by_convolutions(x, vector, heads, width, depth) for x, vector in zip(features, vectors, strict=True)]
    assert_close(head(features, vectors), torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_gradients():
    head = DynamicHead(2, width=3, depth=2)
    torch.manual_seed(0)
    features = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(2, head.parameter_count, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(head, (features, vectors))
    (of_first,) = torch.autograd.grad(head(features, vectors)[0].sum(), vectors)
    assert of_first[0].abs().max() > 0
    assert of_first[1].abs().max() == 0  # another sample's loss says nothing of my kernels


def test_float32_under_autocast():
    head = DynamicHead(2, width=2, depth=2)
    vector = torch.zeros(1, head.parameter_count)
    vector[0, :4], vector[0, 4:8] = 300, torch.tensor([1.0, -1, -1, 1])
    features = torch.full((1, 2, 1, 1, 1), 300.0)  # hidden: 180,000, which float16 does not hold
    with torch.autocast("cpu", torch.float16):
        logits = head(features.half(), vector)
    assert logits.dtype == torch.float32
    assert logits.flatten().tolist() == [0, 0]


def test_rows_of_a_smaller_head_stand_in_a_larger_one():
    small, large = DynamicHead(2, width=3, depth=2), DynamicHead(4, width=3, depth=2)
    torch.manual_seed(0)
    old, features = torch.randn(2, small.parameter_count), torch.randn(2, 3, 2, 5)
    new = torch.randn(2, large.parameter_count)
    new[:, large.places_of(2)] = old[:, small.places_of(2)]
    assert_close(large(features, new)[:, :2], small(features, old))
    assert large.places_of(4).tolist() == list(range(large.parameter_count))


@pytest.mark.parametrize("sizes", [(0, 8, 3), (2, 0, 3), (2, 8, 0)])
def test_impossible_sizes(sizes):
    heads, width, depth = sizes
    with pytest.raises(ValueError, match="of at least 1"):
        DynamicHead(heads, width=width, depth=depth)


@pytest.mark.parametrize(("heads", "width", "depth"), [(3, 8, 3), (20, 8, 3), (2, 16, 2)])
def test_the_planners_count_is_what_backward_keeps(heads, width, depth):
    """Bytes of all tensors kept for backward under autocast, bounded logits too; nnU-Net's unit is 4 bytes."""
    head, size = DynamicHead(heads, width=width, depth=depth), (8, 12, 16)
    features = torch.randn(1, width, *size, dtype=torch.bfloat16, requires_grad=True)
    vectors = torch.randn(1, head.parameter_count, requires_grad=True)
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        logits = bounded(head(features, vectors))
    assert logits.shape == (1, heads, *size)
    measured = sum(part.untyped_storage().nbytes() for part in kept.values()) / 4
    assert head.compute_conv_feature_map_size(size) == pytest.approx(measured, rel=0.1)


CPU = torch.device("cpu")


def test_ordinary_logits_are_what_they_were():
    logits = torch.linspace(-60, 60, 2001)
    assert torch.equal(bounded(logits), logits)


def test_literal_values_beyond():
    expected = [60 + 50 * math.tanh(0.5), -60 - 50 * math.tanh(2.0)]
    assert_close(bounded(torch.tensor([85.0, -160.0])), torch.tensor(expected))
    assert bounded(torch.tensor([1e30, -math.inf])).tolist() == [110, -110]


def test_smooth_and_increasing():
    logits = torch.linspace(30, 300, 2701, dtype=torch.float64, requires_grad=True)
    out = bounded(logits)
    (slope,) = torch.autograd.grad(out.sum(), logits)
    assert (out.diff() > 0).all()
    assert (slope > 0).all()
    assert slope.diff().abs().max() < 2e-3


def test_gradcheck():
    logits = torch.tensor([-150.0, -50, 3, 90], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(bounded, (logits,))


@pytest.mark.parametrize(("step", "most"), [(0.5, 80), (0.1, 530)])
def test_what_nnunet_adds_up_fits_half_precision(step, most):
    """The largest sum of weights that a voxel can get, over sizes of patch and image."""
    worst = 0.0
    for patch in (16, 24, 32, 48, 64, 96, 128):
        weights = compute_gaussian((patch, 1, 1), dtype=torch.float64, device=CPU).flatten()
        for image in range(patch, 3 * patch):
            total = torch.zeros(image, dtype=torch.float64)
            for start in compute_steps_for_sliding_window((image,), (patch,), step)[0]:
                total[start : start + patch] += weights
            worst = max(worst, 10 * float(total.max()) ** 3)
    assert 0.8 * most < worst < most
    assert worst * LIMIT < torch.finfo(torch.float16).max
