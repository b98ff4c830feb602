"""Parts of a batch one by one: the gradients of the whole batch, the graph of one part."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from small_unet import GEOMETRIES, small_unet
from torch import Tensor, nn
from torch.testing import assert_close

from nnunet_ext.methods.lefed.architecture import Fed, LeFeD
from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlus
from nnunet_ext.semi_supervised.checkpointed_parts import CheckpointedParts, joined, mixes_samples, split

PATCH = GEOMETRIES["3d"][2]
FEATURES = [(4, PATCH), (6, (4, 8, 6)), (8, (2, 4, 3))]


def tensors(held: Any) -> list[Tensor]:
    return [held] if isinstance(held, Tensor) else [tensor for each in held for tensor in tensors(each)]


def network_and_batch(name: str, dropout: float = 0.0) -> tuple[nn.Module, Any]:
    """Train mode, three samples."""
    torch.manual_seed(0)
    images = torch.randn(3, 1, *PATCH)
    if name == "LeFeD":
        feedback = [torch.randn(3, width, *size) for width, size in FEATURES]
        return LeFeD(small_unet(deep_supervision=False), dropout=(0.0, dropout)).train(), Fed(images, feedback)
    if name == "MC-Net+":
        return MCNetPlus(small_unet(deep_supervision=False), dropout=dropout).train(), images
    return small_unet(name).train(), images


def test_split_and_joined_by_hand():
    fed = Fed(torch.arange(3.0), [torch.arange(6.0).view(3, 2), torch.zeros(3)])
    first, second = split(fed, [1, 2])
    assert isinstance(first, Fed)
    assert first.images.tolist() == [0]
    assert second.images.tolist() == [1, 2]
    assert second.feedback[0].tolist() == [[2, 3], [4, 5]]
    again = joined([first, second])
    assert isinstance(again, Fed)
    assert all(torch.equal(one, other) for one, other in zip(tensors(again), tensors(fed), strict=True))
    without = split(Fed(torch.zeros(3)), [1, 2])
    assert [part.feedback for part in without] == [None, None]
    assert joined(without).feedback is None


@pytest.mark.parametrize("sizes", [[2, 1], [1, 2]])
@pytest.mark.parametrize("name", ["plain", "resenc", "LeFeD", "MC-Net+"])
def test_output_and_gradients_are_those_of_the_whole_batch(name, sizes):
    """The loss joins samples of both parts, as a discrepancy does."""
    whole, batch = network_and_batch(name)
    apart = copy.deepcopy(whole)
    outputs = [whole(batch), CheckpointedParts(apart, sizes)(batch)]
    assert type(outputs[0]) is type(outputs[1])
    for output in outputs:
        probabilities = [each.softmax(1) for each in tensors(output) if each.requires_grad]
        sum(each.mean(0).square().mean() + each[:1].square().mean() for each in probabilities).backward()
    for mine, theirs in zip(tensors(outputs[1]), tensors(outputs[0]), strict=True):
        assert_close(mine, theirs)
    for (parameter, mine), theirs in zip(apart.named_parameters(), whole.parameters(), strict=True):
        if theirs.requires_grad:
            assert_close(mine.grad, theirs.grad, rtol=0, atol=2e-6, msg=parameter)


def test_the_graph_of_the_last_part_alone_is_kept():
    kept = []
    network, images = network_and_batch("plain")
    for module in (network, CheckpointedParts(network, [2, 1])):
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = module(images)
        kept.append(sum(sizes.values()))
        del output
    assert 0.3 < kept[1] / kept[0] < 0.45


def test_a_part_runs_again_when_the_graph_of_the_one_behind_it_is_gone():
    events: list[str] = []
    network = nn.Sequential(nn.Conv1d(1, 1, 1), nn.Tanh(), nn.Conv1d(1, 1, 1))

    def saw(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        part = "first" if len(inputs[0]) == 2 else "last"
        events.append(f"{part} forward")
        output.register_hook(lambda _: events.append(f"{part} backward"))

    network[0].register_forward_hook(saw)
    CheckpointedParts(network, [2, 1])(torch.randn(3, 1, 4)).sum().backward()
    assert events[:4] == ["first forward", "last forward", "last backward", "first forward"]
    assert "first backward" in events[4:] or len(events) == 4


def test_dropout_draws_the_same_again_in_the_backward_pass():
    """The gradient of the logits' sum by a head's weight is the sum of the features that were not dropped."""
    network, batch = network_and_batch("LeFeD", dropout=0.5)
    features: list[Tensor] = []
    network.decoder.seg_layers[-1].register_forward_hook(lambda _, inputs, __: features.append(inputs[0].clone()))
    CheckpointedParts(network, [2, 1])(batch).first.sum().backward()
    assert [len(each) for each in features] == [2, 1, 2]  # forward, forward, again backward
    assert torch.equal(features[0], features[2])
    seen = sum(part.sum((0, 2, 3, 4)) for part in features[:2])
    for row in network.decoder.seg_layers[-1].weight.grad.flatten(1):
        assert_close(row, seen, rtol=1e-4, atol=1e-4)


def test_batch_norm_mixes_samples():
    assert not mixes_samples(small_unet())
    assert mixes_samples(small_unet(norm_op=nn.BatchNorm3d))
