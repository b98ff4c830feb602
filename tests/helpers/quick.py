"""What nnU-Net does in seconds after each epoch, look-up and planning, tests do in milliseconds, with alike results.

In the processes of the tests alone: commands that a test starts run as they are.
"""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib.figure import Figure
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.utilities import find_class_by_name

VOXELS = 10_000  # of each case and channel; nnU-Net draws 10^8 of a dataset
DRAW = Figure.savefig
ANALYZE = DatasetFingerprintExtractor.analyze_case
ORIGINATES = find_class_by_name._module_originates_from_path


def be_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the three slow steps."""
    monkeypatch.setattr(Figure, "savefig", _save_nothing)
    monkeypatch.setattr(DatasetFingerprintExtractor, "analyze_case", staticmethod(_analyze))
    monkeypatch.setattr(find_class_by_name, "_module_originates_from_path", _originates)


def _save_nothing(figure: Figure, file: Any, **_: Any) -> None:
    """Write no picture: nnU-Net's curve has 3000 x 5400 pixels. The figure has been laid out."""
    Path(file).write_bytes(b"not drawn")


def _analyze(images: Any, segmentation: Any, reader: Any, num_samples: int) -> Any:
    return ANALYZE(images, segmentation, reader, num_samples=min(num_samples, VOXELS))


def _originates(module: Any, path: str) -> bool:
    """Remember the answer: each look-up asks it of every module that was ever imported."""
    file = getattr(module, "__file__", None)
    return _is_below(file, path) if file and file.startswith("/") else ORIGINATES(module, path)


@functools.cache
def _is_below(file: str, path: str) -> bool:
    return ORIGINATES(SimpleNamespace(__file__=file), path)
