"""The estimate: operations counted by hand, limits, remedies."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from challenge_model import KITS, TUMORS, write_challenge_model
from torch import nn

from nnunet_ext.challenges.container.interface import INTERFACES
from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
from nnunet_ext.challenges.packaging.estimate import (
    GIB,
    GPU_BASE,
    RAM_BASE,
    START,
    Case,
    Estimate,
    Limits,
    case_of,
    estimate,
    network_work,
)
from nnunet_ext.errors import UserError
from nnunet_ext.prediction.trained_model import TrainedModel

CASE = Case((100, 200, 200), (50, 200, 200), "as given")
LIMITS = Limits(20 * 60, 16 * GIB, 32 * GIB, 8e12)
# 100 windows x 5 folds x 8 mirrorings x 80 GFLOP / 8 TFLOP/s = 40 s
MADE = Estimate(CASE, 100, 80 * 10**9, 5, 3, network=2 * GIB, sums=4 * GIB, ram=6 * GIB)


def test_operations_by_hand() -> None:
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.ReLU(), nn.Conv3d(4, 2, 1))
    voxels = 6 * 8 * 10
    operations, elements = network_work(network, (1, 1, 6, 8, 10))
    assert operations == 2 * voxels * (4 * 27 + 4 * 2)
    assert elements == voxels * (4 + 2)
    assert next(network.parameters()).device.type == "cpu"  # the network itself is not touched


def test_time_and_limits() -> None:
    assert MADE.seconds(8e12) == START + 40
    assert MADE.seconds(8e12, 1, 0) == START + 1
    assert MADE.problems(LIMITS) == []
    text = " ".join(MADE.lines(LIMITS))
    assert "100 windows x 5 folds x 8 mirrorings x 80 GFLOP" in text
    assert "assumed 8 TFLOP/s about 100 s" in text
    assert "Limit: 20 min." in text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (85, "5 folds x 8 mirrorings will not fit 85 s; use 5 folds x 4 mirrorings, which the container falls back to"),
        (66, "5 folds x 8 mirrorings will not fit 66 s; use --no_mirroring, which the container falls back to"),
        (63, "use 3 folds (-f) and --no_mirroring, which the container falls back to"),
        (60, "not even 1 fold without mirroring will; use a smaller network, or -step_size above 0.5"),
    ],
)
def test_too_little_time(seconds: float, expected: str) -> None:
    (problem,) = MADE.problems(replace(LIMITS, seconds=seconds))
    assert expected in problem


def test_too_little_memory() -> None:
    (problem,) = MADE.problems(replace(LIMITS, gpu_memory=GIB))
    assert problem.startswith("a network of about 2.0 GiB will not fit 1.0 GiB of GPU memory")
    assert MADE.memory(LIMITS) == 6 * GIB
    small = replace(LIMITS, gpu_memory=5 * GIB)  # the sums stay in memory
    assert MADE.memory(small) == 10 * GIB
    assert MADE.problems(small) == []
    (problem,) = MADE.problems(replace(small, ram=10.5 * GIB))  # of which the platform keeps 1
    assert problem.startswith("about 10.0 GiB of RAM will not fit 10.5 GiB less 1.0 GiB")


def test_of_a_model(tmp_path: Path) -> None:
    model = TrainedModel.load(write_challenge_model(tmp_path, TUMORS, folds=(0, 1)))
    record, interface = ChallengeRecord.of(model.dataset_json), INTERFACES["segrap2023_gtv"]
    found = estimate(model, CASE, interface, record, step_size=0.5, mirroring=True)
    assert found is not None
    weights = 4 * sum(tensor.numel() for tensor in model.parameters[0].values())
    operations, elements = network_work(model.network, (1, 2, 8, 16, 12))
    assert (found.operations, found.folds, found.axes) == (operations, 2, 1)
    # steps of at most 4, 8, 6 voxels through 50, 200, 200 voxels with windows of 8, 16, 12
    assert found.windows == 12 * 24 * 33
    assert found.network == round(GPU_BASE + 1.5 * weights + 2 * elements)
    voxels, resampled = 100 * 200 * 200, 50 * 200 * 200
    assert found.sums == 2 * 4 * 8 * 200 * 200 * 2 + 2 * resampled * 4 + 2 * weights
    assert found.ram == round(RAM_BASE + 3 * weights + 2 * 2 * (voxels + resampled) * 4 + (2 + 2) * voxels)
    bare = estimate(model, CASE, INTERFACES["kits21"], record, step_size=1.0, mirroring=False)
    assert bare is not None
    assert (bare.axes, bare.windows) == (0, 7 * 13 * 17)


def test_a_network_that_cannot_be_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Reads(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * image.sum().item()

    model = TrainedModel.load(write_challenge_model(tmp_path))
    model.network = Reads()
    with caplog.at_level(logging.WARNING):
        assert estimate(model, CASE, INTERFACES["kits21"], None, step_size=0.5, mirroring=True) is None
    assert "no estimate of time and memory" in caplog.text


def test_which_case(tmp_path: Path) -> None:
    """Given, or the largest training image, or the median one; the plans turn the axes."""
    folder = write_challenge_model(tmp_path, KITS, transpose=(2, 0, 1))
    model = TrainedModel.load(folder)
    assert case_of(folder, model, None) == Case((20, 40, 40), (20, 40, 40), "median training image")
    assert case_of(folder, model, (10, 20, 30)) == Case((10, 20, 30), (10, 20, 30), "as given")
    shapes, spacings = [(60, 50, 10), (40, 30, 20), (10, 10, 10)], [(1, 1, 1), (1, 1, 8), (1, 1, 1)]
    fingerprint = {"shapes_after_crop": shapes, "spacings": spacings}
    (folder / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    assert case_of(folder, model, None) == Case((20, 40, 30), (80, 40, 30), "largest training image")
    assert case_of(folder, model, (10, 20, 30)).source == "as given"


def test_no_size_known(tmp_path: Path) -> None:
    folder = write_challenge_model(tmp_path)
    model = TrainedModel.load(folder)
    del model.plans_manager.plans["original_median_shape_after_transp"]
    with pytest.raises(UserError, match="or --no_estimate"):
        case_of(folder, model, None)
