"""init_from between networks of collections: any two of them, and every tensor's fate is told and true."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from small_unet import GEOMETRIES, small_unet
from torch import Tensor, nn
from torch.testing import assert_close

from nnunet_ext.base.init_from import init_from
from nnunet_ext.collection.network.dodnet import DoDNet
from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.errors import UserError
from nnunet_ext.methods.multi_head.architecture import MultiHead
from nnunet_ext.methods.transdodnet.architecture import TransDoDNet
from nnunet_ext.methods.uniseg.architecture import UniSeg

HEADS, PLACES = (4, 2, 3), [1, None, 0, 2]  # of the old tasks; where the new ones were
NETWORKS = ("UniSeg", "MultiHead", "DoDNet", "TransDoDNet")
OTHERS: dict[str, dict[str, Any]] = {
    "the same": {},
    "narrower": {"features": (4, 5, 6)},
    "wider": {"features": (6, 8, 12)},
    "narrower bottleneck": {"features": (4, 6, 7)},
    "other patch": {"patch": (16, 16, 24)},
    "fewer stages": {"strides": GEOMETRIES["3d"][0][:2], "features": (4, 6)},
    "more stages": {"strides": [*GEOMETRIES["3d"][0], [2, 2, 1]], "features": (4, 6, 8, 8)},
    "other strides": {"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]]},
    "other kernels": {"kernels": [[1, 3, 3]] * 3},
    "2d": {"strides": GEOMETRIES["2d"][0], "patch": (16, 8)},
    "no affine norm": {"norm_op_kwargs": {"affine": False}},
    "residual": {"kind": "resenc"},
}


def network(name: str, heads: tuple[int, ...], seed: int, **other: Any) -> TaskNetwork:
    """As after some training: no two values are equal."""
    torch.manual_seed(seed)
    made = untrained(name, heads, **other)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    return made


def untrained(name: str, heads: tuple[int, ...], **other: Any) -> TaskNetwork:
    patch = other.pop("patch", (8, 16, 12))
    common = {"heads": heads, "channels": (1, 3)}
    if name == "UniSeg":
        return UniSeg(small_unet(classes=max(heads), **other), patch_size=patch, **common)
    if name == "MultiHead":
        return MultiHead(small_unet(classes=sum(heads), **other), **common)
    if name == "DoDNet":
        return DoDNet(small_unet(classes=8, **other), **common)
    return TransDoDNet(small_unet(classes=max(heads), **other), hidden_channels=16, **common)


def state(of: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in of.state_dict().items()}


def fates(new: TaskNetwork, old: TaskNetwork, tmp_path: Path) -> dict[str, str]:
    """Start a network from another, and hold what is said of each tensor against what happened to it."""
    given, before = state(old), state(new)
    torch.save({"network_weights": given}, tmp_path / "old.pth")
    told = init_from(
        new, str(tmp_path / "old.pth"), lambda checkpoint: new.adopt(checkpoint["network_weights"], HEADS, PLACES)
    )
    found = {fate.tensor: fate for fate in told.fates if fate.kind != "unused"}
    unused = {fate.tensor for fate in told.fates if fate.kind == "unused"}
    assert len(told.fates) == len(found) + len(unused)
    assert list(found) == list(before)
    assert unused == given.keys() - {fate.source for fate in found.values() if fate.kind != "fresh"}
    after = state(new)
    for name, fate in found.items():
        if fate.kind == "loaded":
            assert torch.equal(after[name], given[fate.source]), name
        elif fate.kind == "fresh":
            assert torch.equal(after[name], before[name]), name
        else:
            assert fate.kind == "mapped"
            assert not torch.equal(after[name], before[name]), name
    return {name: fate.kind for name, fate in found.items()}


@pytest.mark.parametrize("change", OTHERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_what_fits_is_taken_and_all_else_is_named(name, change, tmp_path):
    old = network(name, HEADS, 0)
    new = network(name, (2, 5, 4, 3), 1, **OTHERS[change])
    if change == "2d":
        with pytest.raises(UserError, match="the file's network is 3d, this one 2d"):
            fates(new, old, tmp_path)
        return
    found = fates(new, old, tmp_path)
    if change == "the same":
        assert "fresh" not in found.values()
    if "bottleneck" in change or change == "other kernels":
        fuse = [fate for tensor, fate in found.items() if tensor.startswith("fuse.")]
        assert set(fuse) == ({"fresh"} if name == "UniSeg" else set())
    if change not in ("narrower", "wider"):
        assert "loaded" in found.values()
    new.eval().set_task(0)
    patch = OTHERS[change].get("patch", (8, 16, 16))
    assert torch.isfinite(new(torch.randn(1, 1, *patch))[0]).all()


@pytest.mark.parametrize("new", NETWORKS)
@pytest.mark.parametrize("old", NETWORKS)
def test_another_method_gives_encoder_and_decoder(old, new, tmp_path):
    found = fates(network(new, (2, 5, 4, 3), 1), network(old, HEADS, 0), tmp_path)
    assert found["encoder.stages.1.0.convs.0.conv.weight"] == "loaded"
    assert found["decoder.stages.0.convs.0.conv.weight"] == "loaded"


def test_an_old_task_of_uniseg_sees_the_interpolated_prompt(tmp_path):
    old, new = network("UniSeg", HEADS, 0).eval(), network("UniSeg", (2, 5, 4, 3), 1, patch=(16, 16, 24)).eval()
    assert fates(new, old, tmp_path)["prompt"] == "mapped"
    x = torch.randn(1, 1, 16, 16, 24)
    old.set_task(1)
    new.set_task(0)
    with torch.no_grad():
        for before, after in zip(old(x), new(x), strict=True):  # the old one interpolates its prompt for this size
            assert_close(after, before)


def test_nothing_is_skipped_silently(tmp_path):
    """Scalars, vectors and other states, of equal and of other shape."""

    class Net(nn.Module):
        def __init__(self, value: float, long: int) -> None:
            super().__init__()
            for name, shape in {"scalar": (), "bias": (3,), "longer": (long,), "weight": (2, 2)}.items():
                self.register_parameter(name, nn.Parameter(torch.full(shape, value)))
            self.register_buffer("statistics", torch.full((2,), value))

        def get_extra_state(self) -> Any:
            return {"rounds": float(self.scalar.detach())}

        def set_extra_state(self, state: Mapping[str, float]) -> None:
            self.rounds = state["rounds"]

    old, new = Net(1.0, 4), Net(2.0, 5)
    torch.save({"network_weights": old.state_dict()}, tmp_path / "old.pth")
    told = init_from(new, str(tmp_path / "old.pth"), itemgetter("network_weights"))
    assert [line.split()[:2] for line in told.lines()] == [
        ["loaded", "scalar"],
        ["loaded", "bias"],
        ["fresh", "longer"],
        ["loaded", "weight"],
        ["loaded", "statistics"],
        ["loaded", "_extra_state"],
        ["unused", "longer"],
    ]
    assert [float(tensor.detach().max()) for tensor in (*new.parameters(), new.statistics)] == [1, 1, 2, 1, 1]
    assert new.rounds == 1
