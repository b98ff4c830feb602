"""A planned and preprocessed collection of five phantom members, made once."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_ext.cli.main import main
from nnunet_ext.phantom_collection import write_phantom_collection

KNOBS = {
    "num_epochs": 1,
    "num_iterations_per_epoch": 10,
    "num_val_iterations_per_epoch": 5,
    "optimizer": "AdamW",
    "initial_lr": 3e-3,
    "seed": 0,
}


class _ThreadContext:
    """A multiprocessing context whose pools are threads: a spawned worker imports for ten seconds."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def Pool(self, processes: int | None = None, *_: Any, **__: Any) -> ThreadPool:  # noqa: N802
        return ThreadPool(processes)


def point_nnunet_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set nnU-Net's variables, threads for worker pools, and one torch thread."""
    for name in ("raw", "preprocessed", "results"):
        (root / name).mkdir(exist_ok=True)
        monkeypatch.setenv(f"nnUNet_{name}", str(root / name))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    get_context = multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: _ThreadContext(get_context(method)))
    monkeypatch.setattr("nnunetv2.utilities.utils.Pool", ThreadPool)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with ``raw`` and ``preprocessed`` of Dataset900_Phantoms and its members; not to be changed."""
    root = tmp_path_factory.mktemp("collection")
    members = write_phantom_collection(root / "raw", cases=5, unseen=1, shape=(18, 20, 20))
    manifest = root / "raw" / "Dataset900_Phantoms" / "dataset.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"tasks": {place.name[11:].lower(): {"dataset": place.name} for place in members}}))
    with pytest.MonkeyPatch.context() as monkeypatch:
        point_nnunet_at(root, monkeypatch)
        words = ["-d", "900", "-pl", "CollectionLitePlanner", "-npfp", "1", "-np", "1", "--no_pbar", "--no_check"]
        assert main(["plan_and_preprocess", *words, "--set", *(f"{key}={value}" for key, value in KNOBS.items())]) == 0
    return root


@pytest.fixture
def collection(planned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the collection that a test may change; nnU-Net's variables point to it."""
    shutil.copytree(planned, tmp_path, dirs_exist_ok=True)
    point_nnunet_at(tmp_path, monkeypatch)
    return tmp_path
