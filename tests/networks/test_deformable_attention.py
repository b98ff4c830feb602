"""DeformableAttention: against loops, against finite differences, its axes, its start; compiled and under autocast."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from nnunet_ext.networks.deformable_attention import DeformableAttention, head_directions, token_references

SIZES = {3: [(4, 6, 5), (2, 3, 3)], 2: [(6, 7), (3, 4), (2, 2)]}


def attention(dims: int, *, channels: int = 12, heads: int = 3, points: int = 2, spread: float = 0.3):
    """One whose offsets and weights depend on the query."""
    module = DeformableAttention(channels, levels=len(SIZES[dims]), heads=heads, points=points, dims=dims)
    for linear in (module.offsets, module.weights):
        torch.nn.init.normal_(linear.weight, std=spread)
    return module


def tokens(dims: int, channels: int = 12, batch: int = 2) -> Tensor:
    return torch.randn(batch, sum(math.prod(size) for size in SIZES[dims]), channels)


def interpolated(image: Tensor, place: list[float]) -> Tensor:
    """Read an image (c, D, H, W) at (x, y, z) in voxels, 0 being the first voxel's centre: linear, zeros outside."""
    result = torch.zeros(image.shape[0], dtype=image.dtype)
    index = list(reversed(place))  # D, H, W
    for corner in itertools.product(*[(math.floor(i), math.floor(i) + 1) for i in index]):
        weight = math.prod(1 - abs(i - c) for i, c in zip(index, corner, strict=True))
        if all(0 <= c < length for c, length in zip(corner, image.shape[1:], strict=True)):
            result += weight * image[(slice(None), *corner)]
    return result


def by_loops(module: DeformableAttention, queries: Tensor, references: Tensor, values: Tensor, sizes: list) -> Tensor:
    """The definition, one sample after the other."""
    batch, count, channels = queries.shape
    width = channels // module.heads
    projected = module.values(values)
    read = torch.zeros(batch, count, channels)
    for b, q, head in itertools.product(range(batch), range(count), range(module.heads)):
        offsets = module.offsets(queries[b, q]).view(module.heads, module.levels, module.points, module.dims)[head]
        weights = module.weights(queries[b, q]).view(module.heads, -1)[head].softmax(0)
        weights = weights.view(module.levels, module.points)
        first = 0
        for level, size in enumerate(sizes):
            last = first + math.prod(size)
            own = slice(head * width, (head + 1) * width)
            image = projected[b, first:last, own].T.reshape(width, *size)
            for point in range(module.points):
                place = [
                    float(references[b % len(references), q, axis]) * length - 0.5 + float(offsets[level, point, axis])
                    for axis, length in enumerate(reversed(size))
                ]
                read[b, q, own] += weights[level, point] * interpolated(image, place)
            first = last
    return module.output(read)


@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_equals_loops(dims):
    torch.manual_seed(0)
    module = attention(dims)
    sizes = SIZES[dims]
    queries, values = torch.randn(2, 9, 12), tokens(dims)
    references = torch.rand(2, 9, dims)
    expected = by_loops(module, queries, references, values, sizes)
    assert expected.abs().max() > 0.1
    assert_close(module(queries, references, values, sizes), expected, rtol=0, atol=1e-5)
    shared = references[:1]
    expected = by_loops(module, queries, shared, values, sizes)
    assert_close(module(queries, shared, values, sizes), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_gradients_against_finite_differences(dims):
    """In float64, at places away from voxel centres, where trilinear sampling has a kink."""
    torch.manual_seed(1)
    module = attention(dims, channels=4, heads=2, points=2, spread=0.05).double()
    with torch.no_grad():
        module.offsets.bias.add_(0.23)
    sizes = SIZES[dims]
    references = token_references(sizes, dtype=torch.float64)[:, ::11]
    inputs = torch.randn(1, references.shape[1], 4), tokens(dims, 4, 1)
    queries, values = (part.double().requires_grad_() for part in inputs)
    references.requires_grad_()
    assert torch.autograd.gradcheck(lambda q, r, v: module(q, r, v, sizes), (queries, references, values))
    parameters = dict(module.named_parameters())

    def of_parameters(*changed: Tensor) -> Tensor:
        given = dict(zip(parameters, changed, strict=True))
        return torch.func.functional_call(
            module, given, (queries.detach(), references.detach(), values.detach(), sizes)
        )

    assert torch.autograd.gradcheck(of_parameters, tuple(parameters.values()))


def passing_through(module: DeformableAttention) -> None:
    """Make values and output the identity and all offsets zero."""
    with torch.no_grad():
        for linear in (module.values, module.output):
            linear.weight.copy_(torch.eye(len(linear.weight)))
            linear.bias.zero_()
        for linear in (module.offsets, module.weights):
            linear.weight.zero_()
            linear.bias.zero_()


@pytest.mark.parametrize("size", [(2, 3, 5), (5, 2, 3), (4, 3)])
@torch.no_grad()
def test_with_zero_offsets_every_query_samples_its_own_voxel(size):
    count = math.prod(size)
    module = DeformableAttention(count, levels=1, heads=1, points=3, dims=len(size))
    passing_through(module)
    one_hot = torch.eye(count)[None]
    read = module(one_hot, token_references([size]), one_hot, [size])
    assert_close(read, one_hot, rtol=0, atol=1e-5)


@torch.no_grad()
def test_an_offset_is_in_voxels_and_its_axes_are_x_y_z():
    size = (4, 5, 6)
    module = DeformableAttention(1, levels=1, heads=1, points=1)
    passing_through(module)
    module.offsets.bias.copy_(torch.tensor([2.0, 1.0, -1.0]))
    image = torch.arange(120.0)
    read = module(torch.zeros(1, 120, 1), token_references([size]), image[None, :, None], [size]).view(size)
    image = image.view(size)
    assert_close(read[1:, :4, :4], image[:3, 1:, 2:], rtol=0, atol=1e-3)
    assert not read[0].any()  # outside are zeros
    assert not read[:, 4].any()
    assert not read[:, :, 4:].any()


@torch.no_grad()
def test_levels_are_read_at_the_same_place_whatever_their_size():
    """With values that are equal within a level, a reference in the middle reads the mean of the levels."""
    sizes = [(8, 4, 6), (4, 4, 2), (2, 2, 2)]
    module = DeformableAttention(1, levels=3, heads=1, points=2)
    passing_through(module)
    levels = zip(sizes, (1.0, 10.0, 100.0), strict=True)
    values = torch.cat([torch.full((1, math.prod(size), 1), value) for size, value in levels], 1)
    read = module(torch.zeros(1, 1, 1), torch.full((1, 1, 3), 0.5), values, sizes)
    assert_close(read, torch.tensor([[[37.0]]]))


def test_references_are_centres_in_x_y_z_row_by_row():
    references = token_references([(1, 2, 4), (1, 1, 1)])
    assert references.shape == (1, 9, 3)
    assert_close(references[0, 1], torch.tensor([0.375, 0.25, 0.5]))
    assert_close(references[0, 4], torch.tensor([0.125, 0.75, 0.5]))
    assert_close(references[0, 8], torch.full((3,), 0.5))


def test_at_the_start_points_go_out_in_the_heads_directions_and_weights_are_equal():
    module = DeformableAttention(8, levels=2, heads=4, points=3)
    assert not module.offsets.weight.any()
    assert not module.weights.weight.any()
    assert not module.weights.bias.any()
    grid = module.offsets.bias.view(4, 2, 3, 3)
    half = math.sqrt(0.5)
    assert_close(grid[0, 0], torch.tensor([[half, 1, 1], [2 * half, 2, 2], [3 * half, 3, 3]]))
    assert_close(grid[1, 1, 0], torch.tensor([-half, -1, 1]))
    assert_close(module.values.weight.std(), torch.tensor(math.sqrt(1 / 8)), rtol=0.4, atol=0)


def test_directions_of_eight_heads_are_those_of_the_authors_formula():
    half = math.sqrt(0.5)
    expected = [
        [0, 1, 0],
        [half, 1, 1],
        [0, 0, 1],
        [-half, -1, 1],
        [0, -1, 0],
        [half, -1, -1],
        [0, 0, -1],
        [-half, 1, -1],
    ]
    assert_close(head_directions(8, 3), torch.tensor(expected), rtol=0, atol=1e-6)


def test_directions_in_2d_and_of_few_heads():
    assert_close(head_directions(4, 2), torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]]), rtol=0, atol=1e-6)
    assert_close(head_directions(1, 3), torch.tensor([[0.0, 1, 0]]))
    assert_close(head_directions(1, 2), torch.tensor([[1.0, 0]]))
    assert_close(head_directions(2, 3), torch.tensor([[1.0, 1, 1], [-1, -1, -1]]))
    assert_close(head_directions(2, 2), torch.tensor([[1.0, 1], [-1, -1]]))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("heads", range(1, 17))
def test_directions_are_distinct_and_have_both_signs_of_every_axis(heads, dims):
    directions = head_directions(heads, dims)
    assert directions.shape == (heads, dims)
    assert_close(directions.abs().amax(1), torch.ones(heads))
    apart = torch.cdist(directions[None], directions[None])[0] + 10 * torch.eye(heads)
    assert apart.min() > 0.2
    if heads > 1:
        assert (directions.amax(0) > 0.2).all()
        assert (directions.amin(0) < -0.2).all()


def test_every_parameter_gets_a_gradient_from_the_start():
    module = DeformableAttention(12, levels=2, heads=3, points=2)
    values = tokens(3)
    module(values, token_references(SIZES[3]), values, SIZES[3]).square().mean().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("dims", [2, 3])
def test_compiles_as_one_graph(dims):
    torch._dynamo.reset()
    module = attention(dims)
    values = tokens(dims)
    given = values, token_references(SIZES[dims]), values, SIZES[dims]
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    assert_close(compiled(*given), module(*given))
    compiled(*given).sum().backward()


@torch.no_grad()
def test_samples_in_float32_under_autocast(monkeypatch):
    sampled = torch.nn.functional.grid_sample
    dtypes = []

    def recorded(image: Tensor, places: Tensor, **options: object) -> Tensor:
        dtypes.append((image.dtype, places.dtype))
        return sampled(image, places, **options)

    monkeypatch.setattr(torch.nn.functional, "grid_sample", recorded)
    module = attention(3)
    values = tokens(3)
    exact = module(values, token_references(SIZES[3]), values, SIZES[3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = module(values, token_references(SIZES[3]), values, SIZES[3])
    assert dtypes == [(torch.float32, torch.float32)] * 4
    assert rough.dtype == torch.bfloat16
    assert (rough - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_channels_that_the_heads_cannot_share():
    with pytest.raises(ValueError, match="expected channels that 6 heads can share, got 320; give a multiple"):
        DeformableAttention(320, levels=1, heads=6, points=4)
