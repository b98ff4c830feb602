"""torch.compile keeps a graph for every kind of task: none falls back to eager."""

from __future__ import annotations

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn

from nnunet_ext.collection.network.graph_limit import raise_graph_limit

KINDS = [(heads, regions, ignore) for heads in (2, 3, 4, 5) for regions in (False, True) for ignore in (False, True)]


def loss(regions: bool, ignore: bool, heads: int) -> nn.Module:
    """As nnU-Net builds and compiles it, but with a backend that needs no compiler."""
    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": regions, "ddp": False}
    made: nn.Module
    if regions:
        made = DC_and_BCE_loss({}, dice, use_ignore_label=ignore, dice_class=MemoryEfficientSoftDiceLoss)
    else:
        label = heads if ignore else None
        made = DC_and_CE_loss(dice, {}, ignore_label=label, dice_class=MemoryEfficientSoftDiceLoss)
    made.dc = torch.compile(made.dc, backend="eager")
    return made


def target(heads: int, regions: bool, ignore: bool, size: int) -> Tensor:
    if regions:
        return torch.zeros(2, heads + ignore, size, size, size)
    return torch.randint(0, heads + ignore, (2, 1, size, size, size))


def steps() -> None:
    losses = [loss(regions, ignore, heads) for heads, regions, ignore in KINDS]
    for size in (4, 3, 2):  # scales of deep supervision
        for (heads, regions, ignore), of_kind in zip(KINDS, losses, strict=True):
            logits = torch.randn(2, heads, size, size, size)
            of_kind(logits.requires_grad_(), target(heads, regions, ignore, size)).backward()
            with torch.no_grad():
                of_kind(logits, target(heads, regions, ignore, size))


def test_every_kind_of_labels_is_compiled():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(cache_size_limit=8, fail_on_recompile_limit_hit=True):
        with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
            steps()
        torch._dynamo.reset()
        raise_graph_limit([1] * len(KINDS), KINDS)
        steps()
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("channels", "kinds", "limit"),
    [([1, 1], [(2, False, False)] * 2, 8), ([1, 2, 4], [(2, False, False)], 12), ([1], KINDS[:3], 24)],
)
def test_the_limit_counts_what_differs_and_is_never_lowered(channels, kinds, limit):
    with torch._dynamo.config.patch(cache_size_limit=8, accumulated_cache_size_limit=64):
        raise_graph_limit(channels, kinds)
        assert torch._dynamo.config.cache_size_limit == limit
        raise_graph_limit([1], kinds[:1])
        assert torch._dynamo.config.cache_size_limit == limit
        assert torch._dynamo.config.accumulated_cache_size_limit == max(64, 4 * limit)
