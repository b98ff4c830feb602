"""The authors' weights as a v1 checkpoint: stock nnU-Net predicts their outputs with what import_v1 makes of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor, predict_entry_point
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from v1_model import v1_plans, write_v1

from nnunet_ext import sockets
from nnunet_ext.cli.main import main

REFERENCE = Path(os.environ.get("NNUNET_EXT_REFERENCE", Path(__file__).parents[3] / "shared" / "reference"))
HALF = 2**-11  # relative error of a half-precision number, in which stock nnU-Net returns logits
SMALLEST = 2**-14  # half-precision numbers below have fewer digits: stock's Gaussian in the corners of a window
NAMES = ["one", "two", "three", "four", "five"]
KERNELS, POOLS = [[1, 3, 3]] + [[3, 3, 3]] * 5, [[1, 2, 2]] + [[2, 2, 2]] * 4


def reference(name: str) -> dict[str, np.ndarray]:
    file = REFERENCE / f"{name}.npz"
    if not file.is_file():
        pytest.skip(f"{file} is not here; set NNUNET_EXT_REFERENCE to the folder that holds it")
    return dict(np.load(file))


def weights_of(stored: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name[2:]: torch.from_numpy(array) for name, array in stored.items() if name.startswith("w/")}


@pytest.fixture(autouse=True)
def _door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sockets.VARIABLE, str(sockets.folder("trainers")))


def check_logits(model: Path, image: np.ndarray, expected: np.ndarray) -> None:
    """The network, and stock's sliding window with one window, in which Gaussian weights would only cost digits."""
    predictor = nnUNetPredictor(use_gaussian=False, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    assert predictor.configuration_manager.patch_size == list(image.shape[1:])
    with torch.no_grad():
        found = predictor.network.eval()(torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    found = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(image)).float().numpy()
    np.testing.assert_allclose(found, expected, rtol=HALF, atol=1e-3)


def check_labels(
    model: Path,
    image: np.ndarray,
    expected: np.ndarray,
    spacing: Sequence[float],
    order: Sequence[int],
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``nnUNetv2_predict`` on an image file; ``order`` is what the plans transpose it with, ``spacing`` the plans'."""
    back = np.argsort(order)
    (work / "in").mkdir(parents=True)
    for channel, volume in enumerate(image):
        written = sitk.GetImageFromArray(volume.transpose(back))
        written.SetSpacing([float(spacing[axis]) for axis in back][::-1])
        sitk.WriteImage(written, work / "in" / f"case_{channel:04d}.nii.gz")
    trainer, plans, configuration = model.name.split("__")
    dataset = f"-d {model.parent.name} -tr {trainer} -p {plans} -c {configuration} -f 0"
    words = f"-i {work / 'in'} -o {work / 'out'} {dataset} -device cpu -npp 0 -nps 0 --disable_tta"
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_predict", *words.split()])
    predict_entry_point()
    labels = sitk.GetArrayFromImage(sitk.ReadImage(work / "out" / "case.nii.gz")).transpose(order)
    assert labels.shape == expected.shape[1:]
    first, second = np.sort(expected, 0)[:-3:-1]
    cpu = torch.device("cpu")
    gaussian = compute_gaussian(tuple(labels.shape), 1 / 8, 10, device=cpu).float().numpy()
    sure = (first - second > 1e-3 + 8 * HALF * np.abs(expected).max()) & (gaussian >= SMALLEST)
    assert sure.mean() > 0.3
    assert np.array_equal(labels[sure], expected.argmax(0)[sure])
    assert (labels == expected.argmax(0)).mean() > 0.95


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_ba_net(tmp_path, monkeypatch, order):
    stored = reference("ba_net_iso")
    spacing = (1.5, 1.0, 1.25)
    plans = v1_plans(
        (16, 16, 24),
        spacing,
        kernels=[[3] * 3] * 4,
        pools=[[2] * 3] * 3,
        schemes=["noNorm"],
        base=4,
        transpose_forward=order,
        transpose_backward=[int(axis) for axis in np.argsort(order)],
    )
    source = write_v1(tmp_path / "v1", weights_of(stored), plans)
    (tmp_path / "results").mkdir()
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    assert main(["import_v1", "--method", "ba_net", str(source), "-d", "60", "-n", "Kidney"]) == 0
    model = tmp_path / "results" / "Dataset060_Kidney" / "BANetTrainer__V1Plans__3d_fullres"
    for image, expected in zip(stored["x"], stored["seg_0"], strict=True):
        check_logits(model, image, expected)
    check_labels(model, stored["x"][0], stored["seg_0"][0], spacing, order, tmp_path / "run", monkeypatch)


@pytest.fixture(scope="module")
def uniseg(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, np.ndarray], Path]:
    """The authors' outputs, and nnUNet_results with the models of the five tasks; task 4 has only two classes."""
    stored = reference("uniseg_5pool")
    root = tmp_path_factory.mktemp("uniseg")
    tasks: list[dict[str, Any]] = []
    for number, (name, channels) in enumerate(zip(NAMES, (1, 2, 1, 1, 4), strict=True)):
        classes = ["background", "a", "b", "c"][: 2 if number == 4 else 4]
        spacing = [3 + number, 1.5, 1.25]
        tasks.append({"name": name, "labels": classes, "channels": ["noNorm"] * channels, "spacing": spacing})
    (root / "tasks.json").write_text(json.dumps(tasks))
    plans = v1_plans((16, 64, 32), kernels=KERNELS, pools=POOLS, schemes=["MR"] * 4)
    source = write_v1(root / "v1", weights_of(stored), plans)
    (root / "results").mkdir()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("nnUNet_results", str(root / "results"))
        words = f"import_v1 --method uniseg {source} -d 900 -n Five --tasks {root / 'tasks.json'}"
        assert main(words.split()) == 0
    return stored, root / "results"


@pytest.mark.parametrize(("channels", "task", "classes"), [(1, 0, 4), (2, 1, 4), (4, 4, 2)])
def test_uniseg(uniseg, tmp_path, monkeypatch, channels, task, classes):
    stored, results = uniseg
    monkeypatch.setenv("nnUNet_results", str(results))
    model = results / f"Dataset{901 + task}_{NAMES[task]}" / "UniSegTrainer__V1Plans_Dataset900_Five__3d_fullres"
    image = stored[f"x_{channels}ch_task{task}"][0]
    expected = stored[f"y_{channels}ch_task{task}_0"][0][:classes]
    check_logits(model, image, expected)
    check_labels(model, image, expected, (3.0 + task, 1.5, 1.25), [0, 1, 2], tmp_path / "run", monkeypatch)
