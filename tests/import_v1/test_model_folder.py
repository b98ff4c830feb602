"""Model folders: whole, or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_ext.errors import UserError
from nnunet_ext.import_v1 import model_folder
from nnunet_ext.import_v1.model_folder import ModelFolder, write_models

CONTENT: dict[str, Any] = {"network_weights": {"a": torch.ones(2)}}


def models(root: Path) -> list[ModelFolder]:
    return [ModelFolder(root / name / "Model", {"plans_name": name}, {}, {}) for name in ("one", "two")]


def test_models_with_the_same_weights(tmp_path: Path) -> None:
    left = tmp_path / "one" / ".Model.partial" / "fold_7"
    left.mkdir(parents=True)  # by a process that was killed
    write_models(models(tmp_path), {"0": CONTENT, "1": CONTENT})
    for name in ("one", "two"):
        assert [path.name for path in (tmp_path / name).iterdir()] == ["Model"]
        assert sorted(path.name for path in (tmp_path / name / "Model").iterdir()) == [
            "dataset.json",
            "dataset_fingerprint.json",
            "fold_0",
            "fold_1",
            "plans.json",
        ]
        read = torch.load(tmp_path / name / "Model" / "fold_1" / "checkpoint_final.pth")
        assert torch.equal(read["network_weights"]["a"], torch.ones(2))


@pytest.mark.parametrize("place", ["copying", "renaming"])
def test_nothing_is_left_if_one_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """The second model: its copy of the weights, or its name."""
    calls: list[Path] = []
    rename = Path.rename

    def full(*paths: Path) -> Any:
        calls.append(paths[0])
        if place == "renaming" and len(calls) == 1:
            return rename(*paths)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if place == "copying":
            patch.setattr(model_folder, "_copy", full)
        else:
            patch.setattr(Path, "rename", full)
        with pytest.raises(UserError, match=r"expected to write a model, got .*No space left on device"):
            write_models(models(tmp_path), {"0": CONTENT})
    assert len(calls) == (1 if place == "copying" else 2)
    assert [path for path in tmp_path.rglob("*") if path.name != "one"] == []


def test_existing_folders_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "two" / "Model").mkdir(parents=True)
    with pytest.raises(UserError, match="two/Model: expected no such model yet, found one"):
        write_models(models(tmp_path), {"0": CONTENT})
    assert not (tmp_path / "one").exists()
