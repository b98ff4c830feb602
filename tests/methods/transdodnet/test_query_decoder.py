"""Task queries: start, reference points, who attends to whom, gradients."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from nnunet_ext.methods.transdodnet.query_decoder import QueryDecoder

SIZES = [(4, 3, 5), (2, 2, 3)]
TOKENS = 60 + 12


def query_decoder(tasks: int = 3, *, layers: int = 2, deep_norm: bool = True) -> QueryDecoder:
    torch.manual_seed(0)
    return QueryDecoder(tasks, 16, layers=layers, levels=2, heads=4, points=2, hidden=24, deep_norm=deep_norm)


def test_one_query_per_task_and_sample_that_depends_on_the_image():
    decoder = query_decoder().eval()
    memory = torch.randn(2, TOKENS, 16)
    found = decoder(memory, SIZES)
    assert found.shape == (2, 3, 16)
    assert_close(decoder(memory[1:], SIZES), found[1:])
    assert not torch.allclose(found[0], found[1], atol=1e-2)
    assert not torch.allclose(found[:, 0], found[:, 1], atol=1e-2)


def test_every_parameter_gets_a_gradient():
    decoder = query_decoder().train()
    decoder(torch.randn(2, TOKENS, 16), SIZES)[:, 1].square().sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    assert decoder.content.grad.any(1).all()  # tasks that are not trained take part through the attention among queries


def test_reference_points_come_from_the_position_alone():
    decoder = query_decoder(2).eval()
    with torch.no_grad():
        decoder.reference.weight.zero_()
        decoder.reference.bias.copy_(torch.logit(torch.tensor([0.9, 0.5, 0.25])))  # x, y, z
        for layer in decoder.layers:
            layer.across.offsets.bias.zero_()
        memory = torch.randn(1, TOKENS, 16, requires_grad=True)
    decoder(memory, SIZES)[0, 0].square().sum().backward()
    fine = memory.grad[0, :60].abs().sum(-1).reshape(SIZES[0])
    # (D, H, W) = (4, 3, 5): z .25 lies between planes 0 and 1, y .5 in the middle of row 1, x .9 in the last column
    assert set(map(tuple, fine.nonzero().tolist())) == {(0, 1, 4), (1, 1, 4)}


@pytest.mark.parametrize(("deep_norm", "alpha", "beta"), [(True, 3**0.5, 6**-0.5), (False, 1, 1)])
def test_one_switch_for_scale_and_start(deep_norm, alpha, beta):
    decoder = QueryDecoder(
        2, 192, layers=3, levels=2, heads=8, points=4, hidden=768, deep_norm=deep_norm
    )  # (3 * 3)^(1/4), (12 * 3)^(-1/4)
    for layer in decoder.layers:
        assert layer.alpha == pytest.approx(alpha)
        xavier = (2 / (192 + 192)) ** 0.5
        query, key, value = layer.among.in_proj_weight.chunk(3)
        for weight in (value, layer.among.out_proj.weight, layer.across.values.weight, layer.across.output.weight):
            assert weight.std().item() == pytest.approx(beta * xavier, rel=0.03)
        for weight in (query, key):
            assert weight.std().item() == pytest.approx(xavier, rel=0.03)
        for linear in (layer.feed_forward[0], layer.feed_forward[3]):
            assert linear.weight.std().item() == pytest.approx(beta * (2 / (192 + 768)) ** 0.5, rel=0.03)
        assert not layer.across.offsets.weight.any()
        assert not layer.across.weights.weight.any()
        assert layer.across.offsets.bias.any()


def test_old_queries_do_not_see_new_ones_and_new_ones_see_all():
    old, new = query_decoder(2).eval(), query_decoder(4).eval()
    memory = torch.randn(2, TOKENS, 16)
    new.load_state_dict(old.state_dict() | new.adopt(old.state_dict(), [None, 1, None, 0]))
    assert new._rounds.tolist() == [1, 0, 1, 0]
    before, after = old(memory, SIZES), new(memory, SIZES)
    assert_close(after[:, [3, 1]], before, rtol=0, atol=2e-6)

    def moved(task: int) -> list[bool]:
        """Which tasks change when the content of one does."""
        with torch.no_grad():
            kept = new.content[task].clone()
            new.content[task] += 1
            changed = new(memory, SIZES)
            new.content[task] = kept
        return [not torch.equal(changed[:, place], after[:, place]) for place in range(4)]

    assert moved(3) == [True, True, True, True]
    assert moved(0) == [True, False, True, False]


def test_rounds_travel_in_the_state_dict_and_count_on():
    second, third = query_decoder(2), query_decoder(3)
    second._rounds[1] = 4
    assert "_extra_state" in second.state_dict()
    assert not list(second.buffers())
    third.load_state_dict(second.state_dict() | third.adopt(second.state_dict(), [1, None, 0]))
    assert third._rounds.tolist() == [4, 5, 0]
    assert_close(third.position[[2, 0]], second.position)
    with pytest.raises(RuntimeError, match="expected 3 tasks, got 2"):
        third.set_extra_state(second.get_extra_state())


def test_the_planner_counts_the_tokens_of_every_layer():
    assert query_decoder(layers=2).compute_conv_feature_map_size(SIZES) == 2 * 16 * TOKENS
