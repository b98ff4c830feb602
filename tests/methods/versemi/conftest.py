"""A collection whose members have unlabelled images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import point_nnunet_at

KNOBS = {
    "num_epochs": 2,
    "num_iterations_per_epoch": 4,
    "num_val_iterations_per_epoch": 2,
    "optimizer": "AdamW",
    "initial_lr": 3e-3,
    "seed": 0,
}
MEMBERS = {
    "organ": {"unlabelled": 2},  # labels
    "nested": {"regions": True},  # regions, nothing unlabelled
    "slab": {"ignore": True, "unlabelled": 1},
    "pair": {"channels": 2, "unlabelled": 1},
}


@pytest.fixture(scope="session")
def _half_labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nnunet_ext.cli.main import main
    from nnunet_ext.phantoms.dataset import write_phantom_dataset

    root, tasks = tmp_path_factory.mktemp("versemi"), {}
    for number, (task, settings) in enumerate(MEMBERS.items(), start=901):
        name = f"Dataset{number}_{task.capitalize()}"
        write_phantom_dataset(root / "raw", name, cases=4, unseen=1, seed=number, shape=(10, 20, 20), **settings)
        tasks[task] = {"dataset": name}
    manifest = root / "raw" / "Dataset900_Mixed" / "dataset.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"tasks": tasks}))
    with pytest.MonkeyPatch.context() as monkeypatch:
        point_nnunet_at(root, monkeypatch)
        monkeypatch.setenv("nnUNet_n_proc_DA", "0")
        words = ["-d", "900", "-pl", "CollectionLitePlanner", "-npfp", "1", "-np", "1", "--no_pbar", "--no_check"]
        assert main(["plan_and_preprocess", *words, "--set", *(f"{k}={v}" for k, v in KNOBS.items())]) == 0
    return root


@pytest.fixture
def half_labelled(_half_labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Dataset900_Mixed: organ (labels), nested (regions), slab (ignore label), and pair, which has two channels.

    All but nested have unlabelled images. A test may change it.
    """
    root = Path(shutil.copytree(_half_labelled, tmp_path / "versemi"))
    point_nnunet_at(root, monkeypatch)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    return root
