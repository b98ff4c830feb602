"""The network of the source: the very same function, on the channels that it knows."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from small_unet import small_unet
from torch import nn

from nnunet_ext.errors import UserError
from nnunet_ext.methods.multi_head.architecture import MultiHead
from nnunet_ext.strategies.source_network import SourceNetwork
from nnunet_ext.weights.roles import Roles
from nnunet_ext.weights.task_heads import task_heads

OUTPUTS = ("background", "liver", "spleen")
FILE, CPU = Path("source.pth"), torch.device("cpu")


def build(channels: int, outputs: int, **settings: object) -> nn.Module:
    settings = {"deep_supervision": False} | settings
    return small_unet(channels=channels, classes=outputs, **settings)  # type: ignore[arg-type]


def made(source, ours, channels=("CT",), build=build, outputs=OUTPUTS):
    return SourceNetwork(build, FILE, source.state_dict(), Roles(channels, outputs), ours, CPU)


@pytest.mark.parametrize(
    ("channels", "ours", "places"),
    [
        (("CT",), ("CT",), [0]),
        (("CT",), ("PET", "ct"), [1]),
        (("T1", "T2"), ("T2", "FLAIR", "T1"), [2, 0]),
        (("CT", "previous stage: a"), ("CT", "previous stage: b", "previous stage: a"), [0, 2]),  # a cascade
        (("MR", "MR"), ("mr", "mr"), [0, 1]),
        (("MR", "MR"), ("CT", "mr", "mr"), [1, 2]),  # of equal names, each has one partner
        (("CT",), ("portal",), [0]),
        (("CT",), None, None),
    ],
)
def test_the_source_s_own_logits(channels, ours, places):
    source = build(len(channels), 3).eval()
    if places is None:
        with pytest.raises(UserError, match=r"found no 'CT' \(unknown\)"):
            made(source, ours, channels)
        return
    found = made(source.train(), ours, channels)
    images = torch.randn(2, len(ours), 8, 8, 8)
    logits = found.logits(images)
    assert torch.equal(logits, source.eval()(images[:, places]))
    assert not logits.requires_grad
    assert not found.network.training
    assert not any(parameter.requires_grad for parameter in found.network.parameters())


@pytest.mark.parametrize("channels", [("CT",), ("T1", "T2")])
def test_a_view_of_a_collection(channels):
    """Heads of its task, and of the first convolutions that for its channels."""
    network = MultiHead(build(1, 5), heads=(2, 3), channels=(1, 2)).eval()
    tasks = [{"name": "heart", "heads": 2}, {"name": "abdomen", "heads": 3}]
    weights = task_heads(network.state_dict(), {"collection": {"task": "abdomen", "tasks": tasks}})
    found = SourceNetwork(build, FILE, weights, Roles(channels, OUTPUTS), channels, CPU)
    images = torch.randn(2, len(channels), 8, 8, 8)
    network.set_task(1)
    torch.testing.assert_close(found.logits(images), network(images), atol=1e-6, rtol=1e-5)


def test_statistics_of_batch_norm_are_the_source_s():
    norm = {"norm_op": nn.BatchNorm3d}
    source = build(1, 3, **norm)
    for _ in range(3):
        source(torch.randn(2, 1, 8, 8, 8) + 3)
    images = torch.randn(1, 1, 8, 8, 8)
    found = made(source, ("CT",), build=partial(build, **norm))
    assert torch.equal(found.logits(images), source.eval()(images))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"strides": [[1] * 3] + [[2] * 3] * 3, "features": (4, 6, 8, 8)}, "encoder.stages.3"),  # more stages
        ({"strides": [[1] * 3, [2] * 3], "features": (4, 6)}, "encoder.stages.2"),  # fewer
        ({"kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]]}, "encoder.stages.0"),
        ({"features": (4, 6, 10)}, "encoder.stages.2"),
    ],
)
def test_another_network_is_refused(settings, told):
    with pytest.raises(UserError) as error:
        made(build(1, 3), ("CT",), build=partial(build, **settings))
    message = str(error.value)
    assert message.startswith("source.pth: expected weights of this trainer's network")
    assert told in message
    assert "Plan with nnunet_ext plan_finetune" in message
    assert "\n" not in message


def test_a_part_beside_the_u_net_may_be_missing():
    source = build(1, 3)
    weights = source.state_dict() | {"boundary_decoder.weight": torch.zeros(3)}
    found = SourceNetwork(build, FILE, weights, Roles(("CT",), OUTPUTS), ("CT",), CPU)
    images = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(found.logits(images), source.eval()(images))


def test_refused():
    source = build(2, 3)
    with pytest.raises(UserError, match=r"all channels of the source \(CT, PET\), .*found no 'PET' \(CT\)\. Add the"):
        made(source, ("CT",), ("CT", "PET"))
    with pytest.raises(UserError, match=r"all channels of the source \(MR, MR\), .*found no 'MR' \(MR\)\. Add the"):
        made(source, ("MR",), ("MR", "MR"))
    for roles in (Roles(("CT",), None), Roles(None, OUTPUTS)):
        with pytest.raises(UserError, match=r"expected a source whose channels and classes are known"):
            SourceNetwork(build, FILE, source.state_dict(), roles, ("CT",), CPU)
    twice = source.state_dict()
    twice["encoder.stages.0.0.convs.0.all_modules.0.bias"] = torch.ones(4)
    with pytest.raises(UserError, match=r"source.pth: expected one tensor under the names"):
        SourceNetwork(build, FILE, twice, Roles(("CT", "PET"), OUTPUTS), ("CT", "PET"), CPU)
