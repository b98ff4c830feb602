"""A dataset of blobs and the validation predictions of two folds, in which faults can be planted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from blobs import Blobs, write_blobs


@pytest.fixture(scope="session")
def _blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blobs(tmp_path_factory.mktemp("blobs")).root


@pytest.fixture
def blobs(_blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    """A copy that a test may change; nnU-Net's variables point to it."""
    root = Path(shutil.copytree(_blobs, tmp_path / "blobs"))
    for part in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{part}", str(root / part))
    return Blobs(root)
