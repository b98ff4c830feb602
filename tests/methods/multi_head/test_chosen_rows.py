"""Rows of a convolution, worked out by hand and against torch's own."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nnunet_ext.methods.multi_head.chosen_rows import ChosenRows


def test_by_hand():
    conv = nn.Conv3d(2, 3, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]]).view(3, 2, 1, 1, 1))
        conv.bias.copy_(torch.tensor([0.0, 10.0, 0.5]))
    features = torch.tensor([[3.0, 4.0], [5.0, 6.0]]).view(2, 2, 1, 1, 1)
    heads = ChosenRows(conv)
    assert heads(features) is features
    logits = heads.choose(features, torch.tensor([[2, 0], [1, 1]]))
    assert logits.flatten(1).tolist() == [[2.5, 3], [16, 16]]
    assert heads.state_dict().keys() == conv.state_dict().keys()


@pytest.mark.parametrize("conv", [nn.Conv2d, nn.Conv3d])
def test_as_the_convolution_and_with_a_gradient_for_all_rows(conv):
    torch.manual_seed(0)
    layer = conv(4, 5, 1)
    features = torch.randn(2, 4, *((3, 5, 2)[: layer.weight.ndim - 2]))
    heads = ChosenRows(layer)
    rows = torch.tensor([[1, 3], [4, 0]])
    chosen = heads.choose(features, rows)
    assert_close(chosen, torch.stack([layer(features)[0, [1, 3]], layer(features)[1, [4, 0]]]))
    chosen.square().sum().backward()
    for gradient in (layer.weight.grad, layer.bias.grad):
        assert gradient is not None
        assert (gradient.flatten(1) if gradient.ndim > 1 else gradient.unsqueeze(1)).any(1).tolist() == [
            True,
            True,
            False,
            True,
            True,
        ]
