"""UniSeg's network: prompt, stems, gradients, tasks; over plain and ResEnc, 2d and 3d."""

from __future__ import annotations

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn
from torch.testing import assert_close

from nnunet_ext.uniseg.architecture import InputStems, UniSeg

GEOMETRY = {
    "3d": ([[1, 1, 1], [2, 2, 2], [2, 2, 2]], [[3, 3, 3]] * 3, (8, 16, 12)),
    "3d anisotropic": ([[1, 1, 1], [1, 2, 2], [2, 2, 2]], [[1, 3, 3], [3, 3, 3], [3, 3, 3]], (4, 8, 12)),
    "2d": ([[1, 1], [2, 2], [2, 2]], [[3, 3]] * 3, (16, 8)),
}


@pytest.fixture(params=["plain", "resenc"])
def kind(request) -> str:
    return request.param


@pytest.fixture(params=list(GEOMETRY))
def geometry(request) -> str:
    return request.param


def uniseg(kind: str, geometry: str, *, tasks: int = 3, deep_supervision: bool = True) -> UniSeg:
    strides, kernels, patch = GEOMETRY[geometry]
    two_d = len(patch) == 2
    common = {
        "input_channels": 1,
        "n_stages": 3,
        "features_per_stage": [4, 6, 9],
        "num_classes": 4,
        "conv_op": nn.Conv2d if two_d else nn.Conv3d,
        "kernel_sizes": kernels,
        "strides": strides,
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": nn.InstanceNorm2d if two_d else nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": deep_supervision,
    }
    if kind == "plain":
        unet = PlainConvUNet(n_conv_per_stage=[1, 2, 2], **common)
    else:
        unet = ResidualEncoderUNet(n_blocks_per_stage=[1, 2, 2], **common)
    torch.manual_seed(0)
    return UniSeg(unet, tasks=tasks, channels=(1, 3), patch_size=patch)


def test_shapes_and_prompt(kind, geometry):
    strides, _, patch = GEOMETRY[geometry]
    network = uniseg(kind, geometry)
    bottleneck = [
        length // (first * second) for length, first, second in zip(patch, strides[1], strides[2], strict=True)
    ]
    assert network.prompt.shape == (1, 3, *bottleneck)
    widths = [(block.conv.in_channels, block.conv.out_channels) for block in network.fuse.convs]
    assert widths == [(12, 3), (3, 3), (3, 3)]  # F + T = 9 + 3, a quarter of it, T
    for channels in (1, 3):
        logits = network(torch.randn(2, channels, *patch))
        assert logits[0].shape == (2, 4, *patch)
        assert len(logits) == 2
    network.decoder.deep_supervision = False
    assert network(torch.randn(2, 1, *patch)).shape == (2, 4, *patch)


def test_every_parameter_receives_a_finite_gradient(kind, geometry):
    network = uniseg(kind, geometry).train()
    network.set_task(1)
    sum(logits.square().mean() for logits in network(torch.randn(2, 3, *GEOMETRY[geometry][2]))).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_encode_once_decode_per_task_and_mixed_batches(kind):
    network = uniseg(kind, "3d").eval()
    network.decoder.deep_supervision = False
    x = torch.randn(3, 1, *GEOMETRY["3d"][2])
    with torch.no_grad():
        encoded = network.encode(x)
        each = []
        for task in range(3):
            network.set_task(task)
            each.append(network(x))
            assert_close(network.decode(*encoded, torch.full((3,), task)), each[-1])
        mixed = network.decode(*encoded, torch.tensor([2, 0, 1]))
    assert_close(mixed, torch.stack([each[2][0], each[0][1], each[1][2]]))
    assert not torch.allclose(each[0], each[1])


def test_the_prompt_is_interpolated_for_other_sizes(geometry):
    patch = GEOMETRY[geometry][2]
    network = uniseg("plain", geometry, deep_supervision=False).eval()
    larger = [2 * length for length in patch]
    assert network(torch.randn(1, 1, *larger)).shape == (1, 4, *larger)


def test_one_compiled_graph_serves_all_tasks():
    network = uniseg("plain", "2d", deep_supervision=False).eval()
    graphs = 0

    def backend(graph, example_inputs):
        nonlocal graphs
        graphs += 1
        return graph.forward

    compiled = torch.compile(network, backend=backend, fullgraph=True)
    x = torch.randn(2, 1, 16, 8)
    with torch.no_grad():
        for task in (0, 2, 1):
            network.set_task(task)
            assert_close(compiled(x), network(x))
    assert graphs == 1


def test_stems_are_told_by_their_channels():
    stems = InputStems(nn.Conv3d(1, 5, 3, padding=1), (4, 1, 2, 1))
    assert list(stems.convs) == ["1", "2", "4"]
    assert stems(torch.randn(1, 2, 4, 4, 4)).shape == (1, 5, 4, 4, 4)
    with pytest.raises(ValueError, match="expected images with 1, 2, 4 channels, got 3"):
        stems(torch.randn(1, 3, 4, 4, 4))


def test_no_buffers_and_unknown_tasks():
    network = uniseg("plain", "3d")
    assert not list(network.buffers())
    assert not any("_task" in name for name in network.state_dict())
    with pytest.raises(ValueError, match="expected a task from 0 to 2, got 3"):
        network.set_task(3)
