"""``model.json`` is read as it was written; what is missing, changed or of another version is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.onnx_runner.model_description import ModelDescription


@pytest.fixture
def exported(export: Callable[..., tuple[Path, Path]]) -> Path:
    return export(folds=(0, 1))[1]


def change(folder: Path, **entries: object) -> None:
    file = folder / "model.json"
    content = json.loads(file.read_text()) | entries
    file.write_text(json.dumps({name: value for name, value in content.items() if value != "gone"}))


def test_read_and_written(exported: Path, tmp_path: Path) -> None:
    model = ModelDescription.read(exported)
    model.write(tmp_path)
    assert (tmp_path / "model.json").read_text() == (exported / "model.json").read_text()
    assert ModelDescription.read(tmp_path) == model
    assert model.network_files(exported) == [exported / "fold_0.onnx", exported / "fold_1.onnx"]
    assert model.network_files(exported, ["1"]) == [exported / "fold_1.onnx"]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format": "other"}, r"model.json: expected the format 'nnunet_ext ONNX model', found 'other', version 1"),
        ({"format_version": "gone"}, "found 'nnunet_ext ONNX model', version None"),
        ({"format_version": 2}, r"expected format version 1, found 2. Use the nnunet_ext that wrote it, \d"),
        ({"spacing": "gone"}, "expected the entry 'spacing', found none"),
        ({"resample_logits": {"order": 1}}, "expected it as it was exported, found "),
        ({"normalization": [{"scheme": "CT", "more": 1}]}, "expected it as it was exported, found "),
    ],
)
def test_other_content(exported: Path, entries: dict[str, object], message: str) -> None:
    change(exported, **entries)
    with pytest.raises(UserError, match=message):
        ModelDescription.read(exported)


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.json: expected that of an exported model, found no file"):
        ModelDescription.read(tmp_path)


def test_networks_that_are_missing_or_changed(exported: Path) -> None:
    model = ModelDescription.read(exported)
    with pytest.raises(UserError, match=r"expected fold 2, found 0, 1\. Name one of these"):
        model.network_files(exported, ["2"])
    file = exported / "fold_1.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"fold_1.onnx: expected the file that was exported, found another"):
        model.network_files(exported)
    file.unlink()
    with pytest.raises(UserError, match=r"fold_1.onnx: expected the network of fold 1, found no file"):
        model.network_files(exported)
