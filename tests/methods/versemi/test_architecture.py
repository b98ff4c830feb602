"""VerSemi's network: DoDNet and one more column of the controller."""

from __future__ import annotations

import pytest
import torch
from small_unet import GEOMETRIES, small_unet
from torch import Tensor

from nnunet_ext.collection.network.dodnet import DoDNet
from nnunet_ext.methods.versemi.architecture import MixedHeads, VerSemi

PATCH = GEOMETRIES["3d"][2]


def network(kind: type[DoDNet] = VerSemi, width: int = 5, **options: bool) -> DoDNet:
    torch.manual_seed(0)
    unet = small_unet("plain", *GEOMETRIES["3d"][:2], features=[4, 6, 9], classes=width, convolutions=[1, 2, 2])
    return kind(unet, heads=(4, 2, 3), channels=(1, 3), **options)


def images(batch: int = 5) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, 1, *PATCH)


HEADS = MixedHeads(3, [2, 1], [0, 1], [0, 2], detach=False)


def output_of(net: DoDNet, heads: MixedHeads = HEADS):
    net.set_sample_tasks([0, 1])
    net.set_mixed(heads)
    return net(images())


def test_it_has_dodnets_tensors_and_one_more_column():
    ours, theirs = network().state_dict(), network(DoDNet).state_dict()
    assert set(ours) - set(theirs) == {"synthetic"}
    assert all(torch.equal(tensor, ours[name]) for name, tensor in theirs.items())
    assert ours["synthetic"].shape == (2 * (25 + 5) + 5 + 1,)  # of a head with one output
    assert ours["synthetic"].std().item() == pytest.approx(0.408, rel=0.3)  # Kaiming, 9 + 3 inputs


def test_a_task_does_not_change_when_the_synthetic_column_is_dropped():
    net = network().eval()
    found = []
    for column in (net.synthetic, torch.zeros_like(net.synthetic)):
        net.synthetic.data = column.detach().clone()
        net.set_task(1)
        found.append(net(images(2))[0])
    theirs = network(DoDNet).eval()
    theirs.set_task(1)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], theirs(images(2))[0])


def test_one_pass_of_encoder_and_decoder_for_labelled_and_mixed_samples():
    net, calls = network(), []
    for part in (net.encoder, net.decoder):
        part.register_forward_hook(lambda *_: calls.append(1))
    output = output_of(net)  # of two labelled samples, two pairs and a frame
    assert len(calls) == 2
    assert [len(scale) for scale in output.logits] == [2, 2]
    assert output.synthetic.shape == (3, 1, *PATCH)
    assert output.outside.shape == output.inside.shape == (2, 4, *PATCH)
    assert output.tasks.shape == (3, 4 + 3, *PATCH)


def test_heads_of_mixed_samples_are_those_of_their_tasks():
    net = network().eval()
    output = output_of(net)
    net.decoder.deep_supervision = False
    for task, found in ((2, output.outside[:1, :3]), (0, output.inside[:1])):
        net.set_task(task)
        torch.testing.assert_close(net(images()[2:3]), found)
    net.set_task(0, 2)
    torch.testing.assert_close(net(images()[2:]), output.tasks)
    places = net.head.places_of(1)
    with torch.no_grad():  # as a task whose column is the synthetic one
        net.controller.weight[places, 9 + 1] = net.synthetic
    net.set_task(1)
    torch.testing.assert_close(net(images()[2:])[:, :1], output.synthetic)


def test_a_new_task_ends_the_mix():
    net = network().eval()
    net.set_mixed(HEADS)
    net.set_task(1)
    assert net(images(1))[0].shape == (1, 2, *PATCH)


@pytest.mark.parametrize("detach", [True, False])
def test_gradients_reach_all_task_columns_unless_detached(detach):
    net = network()
    output = output_of(net, MixedHeads(3, [2, 1], [0, 1], [0, 1, 2], detach=detach))
    assert output.tasks.requires_grad is not detach
    if not detach:
        output.tasks.square().mean().backward()
        columns = net.controller.weight.grad[:, -3:]
        assert columns.isfinite().all()
        assert (columns.abs().sum(0) > 0).all()
        assert net.synthetic.grad is None


def test_without_mixed_samples_all_parameters_get_a_gradient():
    """As DDP demands."""
    net = network()
    net.set_sample_tasks([0, 1])
    net.set_mixed(MixedHeads(0))
    output = net(images(2))
    (sum(scale.square().mean() for scale in output.logits) + output.synthetic.sum() * 0).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net.synthetic.grad.abs().sum() == 0


def test_a_wide_head_starts_with_smaller_kernels():
    net = network(width=32)
    kernels, rest = net.synthetic.split([net.synthetic_head.weight_count, 32 * 2 + 1])
    assert kernels.std().item() == pytest.approx(0.204, rel=0.1)
    assert rest.std().item() == pytest.approx(0.408, rel=0.3)


def test_a_checkpoint_of_dodnet_starts_it():
    old, new = network(DoDNet).eval(), network().eval()
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.add_(torch.randn_like(parameter))
    adopted = new.adopt(old.state_dict(), old.heads, [0, 1, 2])
    assert set(new.state_dict()) - set(adopted) == {"synthetic"}
    new.load_state_dict(adopted, strict=False)
    old.set_task(2)
    new.set_task(2)
    assert torch.equal(old(images(1))[0], new(images(1))[0])
