"""The file of the knob ``init_from``; tests/base/test_init_from.py has more of them."""

from __future__ import annotations

import pytest
import torch

from nnunet_ext.errors import UserError
from nnunet_ext.weights.source_checkpoint import source_checkpoint


def test_file_and_bare_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path))
    torch.save({"state_dict": {"module.a": torch.ones(2)}, "epoch": 3}, tmp_path / "a.pth")
    file, content = source_checkpoint("$MODELS/a.pth")
    assert file == tmp_path / "a.pth"
    assert content["epoch"] == 3
    assert {name: tensor.tolist() for name, tensor in content["network_weights"].items()} == {"a": [1, 1]}


def test_refused(tmp_path):
    with pytest.raises(UserError, match=r"knob 'init_from': expected an nnU-Net checkpoint, found no file"):
        source_checkpoint(str(tmp_path / "b.pth"))
    torch.save({"epoch": 3}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"c.pth: expected a checkpoint with 'network_weights', or tensors by name"):
        source_checkpoint(str(tmp_path / "c.pth"))
