"""Copies of checkpoints without what may run code."""

from __future__ import annotations

import collections
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nnunet_ext.errors import UserError
from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint
from nnunet_ext.inspection import harmless_copy as module
from nnunet_ext.inspection.harmless_copy import harmless_copy

Pair = collections.namedtuple("Pair", "a b")


def test_what_is_kept_and_left_out(tmp_path):
    weight = torch.arange(3.0)
    content = {
        "network_weights": OrderedDict(w=weight, alias=weight, p=nn.Parameter(torch.ones(2))),
        "numbers": [1, 2.5, True, None, "text", b"bytes", 1j, np.float64(3), np.arange(2)],
        "device": torch.device("cpu"),
        "shape": (torch.Size([2]), {1, 2}),
        "function": partial(int, "3"),
        "inside": [Path("a"), {"deep": Pair(1, 2), "kept": 3}],
        "objects": np.array([object()], object),
        "sparse": torch.zeros(2).to_sparse(),
        "expanded": torch.zeros(1).expand(2**40),
        "meta": torch.zeros(2, device="meta"),
        Pair(1, 2): 5,
    }
    left_out = harmless_copy(content, tmp_path / "new.pth")
    assert [line.partition(": ")[0] for line in left_out] == [
        "function",
        "inside[0]",
        "objects",
        "sparse",
        "expanded",
        "meta",
    ]
    assert left_out[0] == "function: functools.partial"
    found = read_foreign_checkpoint(tmp_path / "new.pth")
    assert list(found) == ["network_weights", "numbers", "device", "shape", "inside", (1, 2)]
    assert type(found["network_weights"]) is OrderedDict
    assert type(found["network_weights"]["p"]) is torch.Tensor
    assert found["network_weights"]["w"].tolist() == [0, 1, 2]
    assert found["network_weights"]["w"].data_ptr() == found["network_weights"]["alias"].data_ptr()
    np.testing.assert_equal(found["numbers"], content["numbers"])
    assert found["shape"] == content["shape"]
    assert found["inside"] == [None, {"deep": (1, 2), "kept": 3}]


def test_containers_without_end(tmp_path):
    circle: dict[str, Any] = {"a": 1}
    circle["itself"] = circle
    assert harmless_copy(circle, tmp_path / "a.pth") == []
    assert read_foreign_checkpoint(tmp_path / "a.pth")["a"] == 1
    deep: list[Any] = [1]
    for _ in range(10**4):
        deep = [deep]
    assert harmless_copy({"a": 1, "deep": deep}, tmp_path / "b.pth")[0].endswith(": builtins.list")
    assert read_foreign_checkpoint(tmp_path / "b.pth")["a"] == 1


def test_nothing_is_replaced(tmp_path):
    (tmp_path / "new.pth").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"--rewrite .*new\.pth: expected no such file yet, found one"):
        harmless_copy({"a": 1}, tmp_path / "new.pth")
    assert (tmp_path / "new.pth").read_bytes() == b"mine"
    assert [file.name for file in tmp_path.iterdir()] == ["new.pth"]


def test_a_copy_that_would_not_be_read_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "AS_THEY_ARE", (*module.AS_THEY_ARE, type(Path())))
    with pytest.raises(UserError, match="but it asks for pathlib"):
        harmless_copy({"a": Path("b")}, tmp_path / "new.pth")
    assert not list(tmp_path.iterdir())


def test_nothing_to_write(tmp_path):
    with pytest.raises(UserError, match="expected something to write, found only partial"):
        harmless_copy(partial(int), tmp_path / "new.pth")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=r"--rewrite .*: expected to write a checkpoint, got .*Free space, or choose"):
        harmless_copy({"a": 1}, tmp_path / "not" / "there" / "new.pth")


def test_containers_of_other_classes_become_plain(tmp_path):
    """What is in them is not lost: torch's own optimizers keep their state in a defaultdict."""

    class Labels(list):
        pass

    content = {
        "state": collections.defaultdict(dict, {0: {"step": torch.ones(1), "odd": Path("a")}}),
        "ordered": type("Ordered", (OrderedDict,), {})(a=1),
        "counts": collections.Counter("aab"),
        "list": Labels([1, Labels([2])]),
        "pair": Pair(1, torch.zeros(2)),
    }
    assert [line.partition(": ")[0] for line in harmless_copy(content, tmp_path / "new.pth")] == ["state.0.odd"]
    found = read_foreign_checkpoint(tmp_path / "new.pth")
    assert [type(each) for each in found.values()] == [dict, OrderedDict, dict, list, tuple]
    assert found["state"] == {0: {"step": torch.ones(1)}}
    assert found["ordered"] == {"a": 1}
    assert found["counts"] == {"a": 2, "b": 1}
    assert (found["list"], type(found["list"][1])) == ([1, [2]], list)
    assert found["pair"][1].tolist() == [0, 0]


def test_versions_beside_weights(tmp_path):
    """By them, torch reads the weights of older layers."""
    weights = nn.BatchNorm2d(2).state_dict()
    assert weights._metadata[""] == {"version": 2}
    assert harmless_copy({"network_weights": weights}, tmp_path / "a.pth") == []
    assert read_foreign_checkpoint(tmp_path / "a.pth")["network_weights"]._metadata == weights._metadata
    weights._metadata["odd"] = {"version": Path("a"), "more": Path("b")}
    (line,) = harmless_copy({"network_weights": weights}, tmp_path / "b.pth")
    assert line.startswith("network_weights._metadata.odd.version: pathlib")
    assert not hasattr(read_foreign_checkpoint(tmp_path / "b.pth")["network_weights"], "_metadata")
