"""Real worker processes, which the other rows replace by threads."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import children
import pytest
from stock import check_predicted, check_trained, predict, train, variant

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.row("nnUNetv2_train and nnUNetv2_predict with spawned workers", expensive=True)
def test_workers(trainer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = variant(trainer, "plain", "LiteWorkers")
    monkeypatch.setattr(multiprocessing, "get_context", children.get_context)
    monkeypatch.setattr("nnunetv2.utilities.utils.Pool", multiprocessing.Pool)
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")
    check_trained(train(trainer, "plain", "3d_fullres", plans=name))
    out = predict(trainer, "plain", "3d_fullres", tmp_path / "predictions", "-npp", 1, "-nps", 1, plans=name)
    check_predicted("plain", out)
