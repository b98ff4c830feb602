"""``nnunet_ext inspect``: table, JSON, a harmless copy; mistakes in one line."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from hostile_files import PICKLES, torch_legacy
from small_model import write_small_model

from nnunet_ext.cli.main import main
from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint
from nnunet_ext.inspection.facts_table import facts_table
from nnunet_ext.inspection.inspect_path import inspect_path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_small_model(tmp_path / "results")


def test_table_and_json(model, capsys):
    assert main(["inspect", str(model)]) == 0
    assert capsys.readouterr().out == f"{facts_table(inspect_path(model))}\n"
    assert main(["inspect", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == inspect_path(model)


def test_a_hostile_file_is_one_line(tmp_path, capsys):
    file = torch_legacy(tmp_path / "a.pth", PICKLES["posix.system"][1](tmp_path / "marker"))
    assert main(["inspect", str(file)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert (
        "it asks for posix.system, which may run code. Only if you know who made the file, add --trust" in printed.err
    )
    assert not (tmp_path / "marker").exists()


def test_trust_and_rewrite(model, tmp_path, capsys):
    file, new = model / "fold_0" / "checkpoint_final.pth", tmp_path / "new.pth"
    content = torch.load(file, weights_only=False)
    torch.save(content | {"odd": partial(int, "3")}, file)
    assert main(["inspect", str(file), "--rewrite", str(new)]) == 2
    assert "it asks for functools.partial" in capsys.readouterr().err
    assert not new.exists()
    assert main(["inspect", str(file), "--trust", "--rewrite", str(new), "--json"]) == 0
    expected = {"file": str(new), "left_out": ["odd: functools.partial"]}
    assert json.loads(capsys.readouterr().out)["rewritten"] == expected
    found = read_foreign_checkpoint(new)
    assert found.keys() == content.keys()
    assert all(torch.equal(found["network_weights"][name], value) for name, value in content["network_weights"].items())
    assert main(["inspect", str(new), "--rewrite", str(tmp_path / "again.pth")]) == 0
    assert capsys.readouterr().out.endswith(
        f"rewritten               file: {tmp_path / 'again.pth'}; left_out: nothing\n"
    )


def test_only_a_checkpoint_is_rewritten(model, tmp_path, capsys):
    assert main(["inspect", str(model), "--rewrite", str(tmp_path / "new.pth")]) == 2
    assert f"--rewrite: expected a checkpoint to copy, got {model}. Give the file of one." in capsys.readouterr().err


def test_no_file(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "a.pth")]) == 2
    assert "a.pth: expected a checkpoint, a model's folder or a zip file of one, found none" in capsys.readouterr().err
