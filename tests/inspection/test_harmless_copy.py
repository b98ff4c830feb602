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
        "inside[1].deep",
        "objects",
        "sparse",
        "expanded",
        "meta",
        "Pair(a=1, b=2) (a key)",
    ]
    assert left_out[0] == "function: functools.partial"
    found = read_foreign_checkpoint(tmp_path / "new.pth")
    assert list(found) == ["network_weights", "numbers", "device", "shape", "inside"]
    assert type(found["network_weights"]) is OrderedDict
    assert type(found["network_weights"]["p"]) is torch.Tensor
    assert found["network_weights"]["w"].tolist() == [0, 1, 2]
    assert found["network_weights"]["w"].data_ptr() == found["network_weights"]["alias"].data_ptr()
    np.testing.assert_equal(found["numbers"], content["numbers"])
    assert found["shape"] == content["shape"]
    assert found["inside"] == [None, {"kept": 3}]


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
