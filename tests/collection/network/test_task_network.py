"""Choosing tasks: slices, several at once, one compiled graph."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.errors import UserError


class Network(TaskNetwork):
    """Three shared heads; the task is added to them."""

    def __init__(self) -> None:
        super().__init__((3, 1, 2))
        self.encoder = nn.Conv2d(1, 3, 1)
        self.decoder = nn.Identity()
        self.deep = False

    def encode(self, x):
        return self.encoder(x)

    def decode(self, shared, tasks):
        logits = shared + tasks.view(-1, 1, 1, 1)
        return [logits, logits[..., ::2]] if self.deep else logits

    def adopt(self, weights, heads, places):
        return dict(weights)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network().eval()


def test_logits_are_cut_to_the_tasks_heads(network):
    x = torch.randn(2, 1, 4, 4)
    for task, heads in enumerate((3, 1, 2)):
        network.set_task(task)
        assert_close(network(x), (network.encoder(x) + task)[:, :heads])
    network.deep = True
    assert [scale.shape for scale in network(x)] == [(2, 2, 4, 4), (2, 2, 4, 2)]


def test_several_tasks_are_side_by_side_and_encoded_once(network):
    x = torch.randn(1, 1, 4, 4)
    each = []
    for task in (2, 0):
        network.set_task(task)
        each.append(network(x))
    calls = []
    network.encoder.register_forward_hook(lambda *_: calls.append(1))
    network.set_task(2, 0)
    together = network(x)
    assert len(calls) == 1
    assert torch.equal(together, torch.cat(each, 1))
    network.set_task(1)
    assert network(x).shape == (1, 1, 4, 4)


def test_every_sample_may_have_its_task_with_all_heads(network):
    x = torch.randn(3, 1, 4, 4)
    network.set_sample_tasks([2, 0, 2])
    assert_close(network(x), network.encoder(x) + torch.tensor([2, 0, 2]).view(-1, 1, 1, 1))
    network.deep = True
    assert [scale.shape for scale in network(x)] == [(3, 3, 4, 4), (3, 3, 4, 2)]
    network.set_task(1)
    assert network(x)[0].shape == (3, 1, 4, 4)


def test_one_compiled_graph_serves_all_mixtures(network):
    graphs = []
    compiled = torch.compile(network, backend=lambda graph, _: graphs.append(graph) or graph.forward)
    x = torch.randn(2, 1, 16, 8)
    with torch.no_grad():
        for tasks in ([0, 1], [2, 2], [1, 2]):
            network.set_sample_tasks(tasks)
            assert_close(compiled(x), network(x))
    assert len(graphs) == 1


def test_one_compiled_graph_serves_all_tasks(network):
    graphs = 0

    def backend(graph, example_inputs):
        nonlocal graphs
        graphs += 1
        return graph.forward

    compiled = torch.compile(network, backend=backend)
    x = torch.randn(2, 1, 16, 8)
    with torch.no_grad():
        for task in (0, 2, 1):
            network.set_task(task)
            assert_close(compiled(x), network(x))
    assert graphs == 1


def test_the_model_of_a_collection_predicts_nothing_until_it_is_told_a_task(network):
    with pytest.raises(UserError, match=r"expected a task, got none\. Predict with a task's view"):
        network(torch.randn(1, 1, 4, 4))


def test_no_buffers_and_unknown_tasks(network):
    assert not list(network.buffers())
    assert all(name.startswith("encoder.") for name in network.state_dict())
    with pytest.raises(ValueError, match="expected a task from 0 to 2, got 3"):
        network.set_task(3)
    with pytest.raises(ValueError, match="expected a task from 0 to 2, got -1"):
        network.set_task()
    with pytest.raises(ValueError, match="expected a task from 0 to 2, got 3"):
        network.set_sample_tasks([0, 3])
