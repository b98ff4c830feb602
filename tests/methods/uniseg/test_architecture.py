"""UniSeg's network: prompt, stems, gradients, tasks; over plain and ResEnc, 2d and 3d."""

from __future__ import annotations

import torch
from small_unet import GEOMETRIES, small_unet
from torch.testing import assert_close

from nnunet_ext.methods.uniseg.architecture import UniSeg


def uniseg(kind: str, geometry: str, *, heads: tuple[int, ...] = (4, 2, 3), deep_supervision: bool = True) -> UniSeg:
    strides, kernels, patch = GEOMETRIES[geometry]
    torch.manual_seed(0)
    unet = small_unet(
        kind,
        strides,
        kernels,
        features=[4, 6, 9],
        classes=4,
        convolutions=[1, 2, 2],
        deep_supervision=deep_supervision,
    )
    return UniSeg(unet, heads=heads, channels=(1, 3), patch_size=patch)


def test_shapes_and_prompt(kind, geometry):
    strides, _, patch = GEOMETRIES[geometry]
    network = uniseg(kind, geometry)
    bottleneck = [
        length // (first * second) for length, first, second in zip(patch, strides[1], strides[2], strict=True)
    ]
    assert network.prompt.shape == (1, 3, *bottleneck)
    widths = [(block.conv.in_channels, block.conv.out_channels) for block in network.fuse.convs]
    assert widths == [(12, 3), (3, 3), (3, 3)]  # F + T = 9 + 3, a quarter of it, T
    network.set_task(0)
    for channels in (1, 3):
        logits = network(torch.randn(2, channels, *patch))
        assert logits[0].shape == (2, 4, *patch)
        assert len(logits) == 2
    network.decoder.deep_supervision = False
    network.set_task(2)
    assert network(torch.randn(2, 1, *patch)).shape == (2, 3, *patch)


def test_every_parameter_receives_a_finite_gradient(kind, geometry):
    network = uniseg(kind, geometry).train()
    network.set_task(1)
    sum(logits.square().mean() for logits in network(torch.randn(2, 3, *GEOMETRIES[geometry][2]))).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_encode_once_decode_per_task_and_mixed_batches(kind):
    network = uniseg(kind, "3d", deep_supervision=False).eval()
    x = torch.randn(3, 1, *GEOMETRIES["3d"][2])
    with torch.no_grad():
        encoded = network.encode(x)
        each = [network.decode(encoded, torch.full((3,), task)) for task in range(3)]
        mixed = network.decode(encoded, torch.tensor([2, 0, 1]))
        for task, heads in enumerate((4, 2, 3)):
            network.set_task(task)
            assert_close(network(x), each[task][:, :heads])
    assert_close(mixed, torch.stack([each[2][0], each[0][1], each[1][2]]))
    assert not torch.allclose(each[0], each[1])


def test_an_old_task_is_the_same_function_in_a_larger_network():
    old = uniseg("plain", "3d", heads=(4, 2)).eval()
    torch.manual_seed(7)
    new = uniseg("plain", "3d", heads=(3, 2, 5, 4, 2, 2)).eval()  # FUSE: (9 + 2) // 4 = 2 becomes (9 + 6) // 4 = 3
    assert old.fuse.convs[0].conv.out_channels < new.fuse.convs[0].conv.out_channels
    new.load_state_dict(new.adopt(old.state_dict(), old.heads, [None, 1, None, 0, None, None]))
    x = torch.randn(2, 1, *GEOMETRIES["3d"][2])
    with torch.no_grad():
        for there, here in ((0, 3), (1, 1)):
            old.set_task(there)
            new.set_task(here)
            for before, after in zip(old(x), new(x), strict=True):
                assert_close(after, before)
        new.set_task(4)
        assert not torch.allclose(new(x)[0], old(x)[0])


def test_after_dropping_tasks_fuse_starts_again():
    old, new = uniseg("plain", "3d", heads=(2,) * 6), uniseg("plain", "3d", heads=(2, 2))
    adopted = new.adopt(old.state_dict(), old.heads, [0, 1])
    assert not [name for name in adopted if name.startswith("fuse.")]


def test_the_prompt_is_interpolated_for_other_sizes(geometry):
    patch = GEOMETRIES[geometry][2]
    network = uniseg("plain", geometry, deep_supervision=False).eval()
    network.set_task(0)
    larger = [2 * length for length in patch]
    assert network(torch.randn(1, 1, *larger)).shape == (1, 4, *larger)


def test_the_planner_counts_fuse_too():
    network = uniseg("plain", "3d")
    parts = network.encoder.compute_conv_feature_map_size([8, 16, 12])
    parts += network.decoder.compute_conv_feature_map_size([8, 16, 12])
    bottleneck = 2 * 4 * 3
    assert network.compute_conv_feature_map_size([8, 16, 12]) == parts + bottleneck * (3 + 3 + 3)
