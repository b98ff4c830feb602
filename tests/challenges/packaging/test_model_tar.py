"""model.tar.gz: what prediction needs, the challenge, and nothing else."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import torch
from challenge_model import KITS, write_challenge_model

from nnunet_ext.challenges.packaging.model_tar import model_folder_of, write_model_tar
from nnunet_ext.errors import UserError
from nnunet_ext.export.model_archive import export_model
from nnunet_ext.prediction.trained_model import TrainedModel

CHECKPOINT = "checkpoint_final.pth"


def test_what_is_in_it(tmp_path: Path) -> None:
    model = write_challenge_model(tmp_path / "results", folds=(0, 1, 2))
    file = model / "fold_2" / CHECKPOINT
    torch.save(torch.load(file, weights_only=False) | {"optimizer_state": torch.zeros(10000)}, file)
    description = json.loads((model / "dataset.json").read_text())
    (model / "dataset.json").write_text(json.dumps(description | {"dataset": {"patient_7": {}}}))
    for name in "ab":
        write_model_tar(model, ["0", "2"], CHECKPOINT, tmp_path / name, show_progress=False)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with tarfile.open(tmp_path / "a") as archive:
        assert archive.getnames() == ["plans.json", "dataset.json", *(f"fold_{n}/{CHECKPOINT}" for n in (0, 2))]
        archive.extractall(tmp_path / "model", filter="data")
    packed = json.loads((tmp_path / "model" / "dataset.json").read_text())
    assert packed["challenge"] == KITS
    assert "dataset" not in packed
    before, after = (TrainedModel.load(each, ["0", "2"]) for each in (model, tmp_path / "model"))
    for one, other in zip(before.parameters, after.parameters, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert before.mirroring_axes == after.mirroring_axes
    assert "optimizer_state" not in torch.load(tmp_path / "model" / "fold_2" / CHECKPOINT, weights_only=True)


def test_a_folder_or_a_zip_file(tmp_path: Path) -> None:
    model = write_challenge_model(tmp_path / "results")
    with model_folder_of(model, CHECKPOINT) as folder:
        assert folder == model
    export_model(model, tmp_path / "model.zip", ["0"], show_progress=False)
    with model_folder_of(tmp_path / "model.zip", CHECKPOINT) as folder:
        assert folder.name == model.name
        assert (folder / "fold_0" / CHECKPOINT).is_file()
        assert json.loads((folder / "dataset.json").read_text())["challenge"] == KITS
    assert not folder.exists()
    with (
        pytest.raises(UserError, match="expected that of a trained model, found no file"),
        model_folder_of(tmp_path, "x"),
    ):
        pass
