"""First convolutions for different numbers of channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_ext.collection.network.input_stems import InputStems


def test_stems_are_told_by_their_channels():
    stems = InputStems(nn.Conv3d(1, 5, 3, padding=1), (4, 1, 2, 1))
    assert list(stems.convs) == ["1", "2", "4"]
    assert stems(torch.randn(1, 2, 4, 4, 4)).shape == (1, 5, 4, 4, 4)
    with pytest.raises(ValueError, match="expected images with 1, 2, 4 channels, got 3"):
        stems(torch.randn(1, 3, 4, 4, 4))


def test_one_compiled_graph_for_each_number_of_channels():
    stems, graphs = InputStems(nn.Conv2d(1, 3, 3), (1, 2)), []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(stems, backend=backend, fullgraph=True)
    for channels in (1, 2, 1, 2):
        x = torch.randn(2, channels, 5, 5)
        torch.testing.assert_close(compiled(x), stems(x))
    assert len(graphs) == 2


def test_stems_that_a_batch_does_not_use_get_a_gradient_of_zero():
    stems = InputStems(nn.Conv2d(1, 3, 3), (1, 2))
    stems(torch.randn(1, 2, 5, 5)).sum().backward()
    assert torch.count_nonzero(stems.convs["1"].weight.grad) == 0
    assert torch.count_nonzero(stems.convs["2"].weight.grad) > 0
