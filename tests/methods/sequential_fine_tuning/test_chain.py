"""A chain of two tasks: earlier model, fine-tuned model, buffer, retention stage, stock's prediction."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext import sockets
from nnunet_ext.cli.main import main
from nnunet_ext.methods.fine_tune.trainer import FineTuneTrainer
from nnunet_ext.methods.sequential_fine_tuning.trainer import SequentialFineTuningTrainer

pytestmark = pytest.mark.slow
NEW = "Dataset701_New"


def test_the_whole_way(half_labelled: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result predicts the earlier task, by stock nnU-Net without this package."""
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)
    earlier = half_labelled(nnUNetTrainer, "2d")
    earlier.num_epochs, earlier.num_iterations_per_epoch, earlier.num_val_iterations_per_epoch = 2, 12, 1
    earlier.run_training()
    source = Path(earlier.output_folder) / "checkpoint_final.pth"
    planned = Path(earlier.preprocessed_dataset_folder_base)
    new = Path(shutil.copytree(planned, planned.with_name(NEW)))
    plans = json.loads((new / "LitePlans.json").read_text()) | {"dataset_name": NEW}
    plans["nnunet_ext"] = {
        "init_from": str(source),
        "num_epochs": 2,
        "num_iterations_per_epoch": 4,
        "num_val_iterations_per_epoch": 1,
        "seed": 0,
    }
    (new / "LitePlans.json").write_text(json.dumps(plans))
    described = json.loads((new / "dataset.json").read_text())
    task = FineTuneTrainer(plans | {"continue_training": False}, "2d", 0, described, torch.device("cpu"))
    task.run_training()
    model, file = Path(earlier.output_folder_base), tmp_path / "buffer.json"
    words = ["-d", "700", "--from", str(model), "-k", "2", "--draws", "2", "-o", str(file)]
    assert main(["select_similar", *words]) == 0
    own = {"task_model": str(Path(task.output_folder) / "checkpoint_final.pth"), "buffer": str(file)}
    trainer = half_labelled(
        SequentialFineTuningTrainer, "2d", init_from=str(source), sequential_fine_tuning=own, optimizer="AdamW"
    )
    trainer.run_training()
    trainer.perform_actual_validation()
    log = "\n".join(each.read_text() for each in Path(trainer.output_folder).glob("training_log_*.txt"))
    assert f"New data: 4 cases of {new / 'LitePlans_2d'}" in log
    chosen = json.loads(file.read_text())["cases"][:2]
    validated = {case["case"] for case in chosen} & set(trainer.do_split()[1])
    assert f"Buffer: {2 - len(validated)} case" in log
    assert ("left out" in log) == bool(validated)
    summary = json.loads((Path(trainer.output_folder) / "validation" / "summary.json").read_text())
    assert summary["metric_per_case"]
    words = ["-d", "700", "-c", "2d", "-tr", "SequentialFineTuningTrainer", "-p", "LitePlans", "-f", "0"]
    assert main(["strip", *words]) == 0
    monkeypatch.setenv(sockets.VARIABLE, "")  # as where this package is not installed
    out = tmp_path / "out"
    images = planned.parents[1] / "raw" / planned.name / "imagesUn"
    words = ["-i", str(images), "-o", str(out), "-d", "700", "-c", "2d", "-tr", "nnUNetTrainer", "-f", "0"]
    words += ["-p", "LitePlansSequentialFineTuning", "-device", "cpu", "-npp", "0", "-nps", "0", "--disable_tta"]
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_predict", *words])
    predict_entry_point()
    found = [np.asarray(nibabel.load(each).dataobj) for each in sorted(out.glob("*.nii.gz"))]
    assert len(found) == 3
    legal = set(trainer.dataset_json["labels"].values())
    assert all(set(np.unique(labels)) <= legal for labels in found)
