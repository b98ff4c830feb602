"""Validation after a training writes the label maps that nnU-Net's configuration would, with our resampling."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from thread_context import ThreadContext

from nnunet_ext.base.checkpoints import read_checkpoint
from nnunet_ext.cli.main import main
from nnunet_ext.data.preprocessed import fast_configuration
from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.phantoms.dataset import write_phantom_dataset

NAME = "Dataset001_Unit"
PLAN = "plan_and_preprocess -d 1 -pl LitePlanner -c 3d_fullres -np 1 -npfp 1 --no_pbar --no_check"
KNOBS = "num_epochs=1 num_iterations_per_epoch=12 num_val_iterations_per_epoch=1 optimizer=AdamW initial_lr=3e-3 seed=0"


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NNUNetBaselineTrainer:
    """A trainer of a tiny model, after its training; images have another spacing than the plans."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path / name))
    get_context = multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: ThreadContext(get_context(method)))
    monkeypatch.setattr("nnunetv2.utilities.utils.Pool", ThreadContext(None).Pool)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # exports, in this process, set it
    write_phantom_dataset(tmp_path / "nnUNet_raw", NAME, cases=3, shape=(12, 26, 26), spacing=(2.5, 1.0, 1.0))
    assert main([*PLAN.split(), "-overwrite_target_spacing", "2.0", "1.3", "1.3", "--set", *KNOBS.split()]) == 0
    folder = tmp_path / "nnUNet_preprocessed" / NAME
    folds = [{"train": ["case_000"], "val": ["case_001", "case_002"]}]
    (folder / "splits_final.json").write_text(json.dumps(folds))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    plans, description = (json.loads((folder / f"{name}.json").read_text()) for name in ("LitePlans", "dataset"))
    trainer = NNUNetBaselineTrainer(
        plans | {"continue_training": False}, "3d_fullres", 0, description, torch.device("cpu")
    )
    trainer.run_training()
    return trainer


def validated(trainer: NNUNetBaselineTrainer) -> dict[str, np.ndarray]:
    """Validate; return the label maps by name."""
    trainer.perform_actual_validation()
    files = sorted((Path(trainer.output_folder) / "validation").glob("*.nii.gz"))
    return {file.name: np.asarray(nibabel.load(file).dataobj) for file in files}


def test_the_same_label_maps_as_stock(trained, monkeypatch):
    used, resample = [], fast_configuration.resample_images
    monkeypatch.setattr(
        fast_configuration,
        "resample_images",
        lambda logits, shape, **how: (used.append(tuple(shape)), resample(logits, shape, **how))[1],
    )
    ours = validated(trained)
    assert sorted(used) == sorted(labels.shape[::-1] for labels in ours.values())
    trained.configuration_manager = ConfigurationManager(trained.configuration_manager.configuration)
    stock = validated(trained)
    assert len(used) == 2
    assert list(ours) == list(stock) == ["case_001.nii.gz", "case_002.nii.gz"]
    for name, labels in stock.items():
        assert len(np.unique(labels)) > 1
        assert (ours[name] != labels).mean() <= 1e-3  # logits that are equal but for their rounding


def test_nothing_else_changes(trained):
    """Plans, checkpoint and debug.json are stock's, and the configuration travels to spawned workers."""
    configuration, folder = trained.configuration_manager, Path(trained.output_folder)
    assert type(configuration) is FastConfiguration
    planned = trained.plans_manager.get_configuration("3d_fullres")
    assert type(planned) is ConfigurationManager
    assert configuration.configuration == planned.configuration
    assert json.loads((folder / "debug.json").read_text())["configuration_manager"] == str(planned)
    plans = json.loads((folder.parent / "plans.json").read_text())
    written = json.loads((Path(trained.preprocessed_dataset_folder_base) / "LitePlans.json").read_text())
    assert {key: value for key, value in plans.items() if key != "continue_training"} == written
    checkpoint = read_checkpoint(folder / "checkpoint_final.pth")
    assert "FastConfiguration" not in repr(checkpoint["init_args"])
    assert copy.deepcopy(configuration).configuration == configuration.configuration
    assert type(pickle.loads(pickle.dumps(configuration))) is FastConfiguration
