"""Checkpoints of nnU-Net v1: the forms they have, and the folds of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from v1_model import FINAL, unet_weights, write_pickle, write_v1

from nnunet_ext.errors import UserError
from nnunet_ext.import_v1.v1_checkpoint import V1Checkpoint, find_checkpoints


def test_with_and_without_more_than_weights_and_the_wrapper_of_several_gpus(tmp_path: Path) -> None:
    weights = unet_weights()
    wrapped = {f"module.{name}": tensor for name, tensor in weights.items()}
    for content in ({"state_dict": weights, "epoch": 7}, weights, {"state_dict": wrapped}):
        torch.save(content, tmp_path / "v1.model")
        read = V1Checkpoint.read(tmp_path / "v1.model")
        assert list(read.weights) == list(weights)
        assert torch.equal(read.weights["tu.0.weight"], weights["tu.0.weight"])
        assert read.epoch == (7 if "epoch" in content else None)
        assert (read.trainer, read.stage, read.mirroring, read.batch_dice) == ("", None, None, False)


@pytest.mark.parametrize("content", [{"state_dict": {"a": 1}}, {"state_dict": {}}, [torch.zeros(1)], {"epoch": 1}])
def test_other_files_are_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "v1.model")
    with pytest.raises(UserError, match=r"expected a checkpoint of nnU-Net v1 with tensors under 'state_dict', found"):
        V1Checkpoint.read(tmp_path / "v1.model")


def test_what_v1_wrote_beside_it(tmp_path: Path) -> None:
    file = write_v1(tmp_path, unet_weights(), None)
    write_pickle(file.with_name(f"{FINAL}.pkl"), {"name": "nnUNetTrainerV2", "init": ("p", 0, "", "", True, None)})
    read = V1Checkpoint.read(file)
    assert (read.trainer, read.stage, read.batch_dice) == ("nnUNetTrainerV2", None, True)


def test_folds(tmp_path: Path) -> None:
    write_v1(tmp_path / "v1", unet_weights(), None, ("2", "0", "all"))
    folds = tmp_path / "v1"
    expected = {fold: folds / f"fold_{fold}" / FINAL for fold in ("0", "2", "all")}
    assert find_checkpoints(folds) == expected
    assert find_checkpoints(folds / "fold_2") == find_checkpoints(expected["2"]) == {"2": expected["2"]}
    single = tmp_path / "single.model"
    single.touch()
    assert find_checkpoints(single) == {"0": single}
    with pytest.raises(UserError, match=r"expected a checkpoint of nnU-Net v1, found none. Give a file such as fold_0"):
        find_checkpoints(tmp_path)
