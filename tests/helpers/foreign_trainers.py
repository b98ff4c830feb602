"""Folders of other packages' trainers, for ``nnUNet_extTrainer``."""

import os
from pathlib import Path

import pytest

from nnunet_ext import sockets

OWN = sockets.folder("trainers")
STOCK = "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"


def write_namesake(folder: Path) -> Path:
    """Write ``CoTrTrainer.py`` with other classes: ``CoTrTrainer``, a name of ours, and ``NamesakeTrainer``."""
    folder.mkdir()
    text = f"{STOCK}class CoTrTrainer(nnUNetTrainer): ...\nclass NamesakeTrainer(nnUNetTrainer): ...\n"
    (folder / "CoTrTrainer.py").write_text(text)
    return folder


def write_broken(folder: Path) -> Path:
    """Write ``a_broken.py``, whose import fails, and ``good.py`` with ``GoodTrainer``."""
    folder.mkdir()
    (folder / "a_broken.py").write_text("from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import no_such_name\n")
    (folder / "good.py").write_text(f"{STOCK}class GoodTrainer(nnUNetTrainer): ...\n")
    return folder


def open_door(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Set ``nnUNet_extTrainer``."""
    monkeypatch.setenv(sockets.VARIABLE, os.pathsep.join(map(str, folders)))
