"""Exported models."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_model import write_small_model

from nnunet_ext.export.onnx_model import export_onnx

CT = {"mean": 20.0, "std": 70.0, "percentile_00_5": -120.0, "percentile_99_5": 160.0}


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Write a small model (:func:`write_small_model`), export it, and return both folders."""

    def make(**settings: Any) -> tuple[Path, Path]:
        model = write_small_model(tmp_path / "results", **settings)
        export_onnx(model, tmp_path / "onnx", show_progress=False)
        return model, tmp_path / "onnx"

    return make


@pytest.fixture
def two_channels() -> Callable[..., Any]:
    """Settings of a model of CT and MR images, the MR normalized in the nonzero region."""
    return functools.partial(
        dict,
        channels=2,
        intensities={"0": CT, "1": CT},
        normalization_schemes=["CTNormalization", "ZScoreNormalization"],
        use_mask_for_norm=[False, True],
    )
