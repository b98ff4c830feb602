"""One set of heads per task."""

from __future__ import annotations

import copy

import pytest
import torch
from small_unet import small_unet
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.nn import functional
from torch.testing import assert_close

from nnunet_ext.collection.network.input_stems import InputStems
from nnunet_ext.methods.multi_head.architecture import MultiHead

HEADS = (2, 4, 3)


def multi_head(kind: str = "plain", heads: tuple[int, ...] = HEADS, deep_supervision: bool = True) -> MultiHead:
    unet = small_unet(kind, classes=sum(heads), deep_supervision=deep_supervision)
    return MultiHead(unet, heads=heads, channels=(1, 3))


def test_a_task_has_its_own_rows_of_the_heads(kind):
    network = multi_head(kind, deep_supervision=False).eval()
    x = torch.randn(2, 3, 8, 16, 8)
    last = network.decoder.seg_layers[-1]
    with torch.no_grad():
        (features,) = network.encode(x)
        everything = functional.conv3d(features, last.weight, last.bias)
        for task, rows in enumerate((slice(0, 2), slice(2, 6), slice(6, 9))):
            network.set_task(task)
            assert_close(network(x), everything[:, rows])
        network.set_task(2, 0)
        assert_close(network(x), everything[:, [6, 7, 8, 0, 1]])
        mixed = network.decode(network.encode(x), torch.tensor([1, 0]))
    assert_close(mixed[0], everything[0, 2:6])
    assert_close(mixed[1, :2], everything[1, :2])


def test_with_one_task_it_is_the_plans_network(kind):
    unet = small_unet(kind, classes=3).eval()
    network = MultiHead(copy.deepcopy(unet), heads=(3,), channels=(1,)).eval()
    first = unet.encoder.stages[0][0] if kind == "plain" else unet.encoder.stem
    (stems,) = (module for module in network.modules() if isinstance(module, InputStems))
    stems.convs["1"].load_state_dict(first.convs[0].conv.state_dict())
    network.set_task(0)
    x = torch.randn(2, 1, 8, 16, 8)
    with torch.no_grad():
        for ours, theirs in zip(network(x), unet(x), strict=True):
            assert_close(ours, theirs)


def test_one_compiled_graph_serves_all_tasks():
    network = multi_head().train()
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(lambda x, tasks: network.decode(network.encode(x), tasks), backend=counter, fullgraph=True)
    x = torch.randn(2, 1, 8, 16, 8)
    for tasks in (torch.tensor(numbers) for numbers in ([0, 0], [1, 1], [2, 0])):
        for ours, eager in zip(compiled(x, tasks), network.decode(network.encode(x), tasks), strict=True):
            assert_close(ours, eager)
    assert counter.frame_count == 1
    torch._dynamo.reset()


def test_work_and_count_do_not_grow_with_the_number_of_tasks():
    counts = []
    for heads in ((4, 2), (4, 2) * 20):
        network = multi_head(heads=heads)
        counts.append(network.compute_conv_feature_map_size([8, 16, 8]))
        shared = network.encode(torch.randn(1, 1, 8, 16, 8))
        assert [scale.shape[1] for scale in shared] == [4, 6]  # features, which are there anyway
        assert [scale.shape[1] for scale in network.decode(shared, torch.tensor([1]))] == [4, 4]
    assert counts[0] == counts[1]


def test_every_parameter_receives_a_finite_gradient(kind):
    network = multi_head(kind).train()
    network.set_task(1)
    logits = network(torch.randn(2, 1, 8, 16, 8))
    assert [scale.shape[:2] for scale in logits] == [(2, 4), (2, 4)]
    sum(scale.square().mean() for scale in logits).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    gradient = network.decoder.seg_layers[-1].weight.grad
    assert torch.count_nonzero(gradient[:2]) == torch.count_nonzero(gradient[6:]) == 0
    assert torch.count_nonzero(gradient[2:6]) > 0


def test_an_old_task_is_the_same_function_in_a_larger_network():
    old, new = multi_head().eval(), multi_head(heads=(4, 2, 5, 3)).eval()
    new.load_state_dict(new.adopt(old.state_dict(), HEADS, [1, 0, 2, None]))
    x = torch.randn(1, 1, 8, 16, 8)
    with torch.no_grad():
        for there, here in ((0, 1), (1, 0)):
            old.set_task(there)
            new.set_task(here)
            for before, after in zip(old(x), new(x), strict=True):
                assert_close(after, before)
    # task 2 of the old network has another number of heads now
    fresh = multi_head(heads=(4, 2, 5, 3)).adopt(old.state_dict(), HEADS, [1, 0, 2, None])[
        "decoder.seg_layers.0.weight"
    ]
    assert not any(torch.equal(row, other) for row in fresh[6:] for other in old.decoder.seg_layers[0].weight[6:])


def test_other_networks_are_refused():
    with pytest.raises(TypeError, match="expected plans of a PlainConvUNet or ResidualEncoderUNet, got Linear"):
        MultiHead(nn.Linear(1, 1), heads=HEADS, channels=(1,))
