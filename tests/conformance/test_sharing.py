"""Model selection, ensembling, post-processing, sharing."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from stock import (
    PLANS,
    check_predicted,
    check_predicted_and_evaluate,
    folder,
    model_folder,
    model_plans,
    predict,
    prepare,
    stock,
    trained,
)

pytestmark = pytest.mark.slow
CONTROL = "NNUNetBaselineTrainer"


def labels_in(file: Path) -> np.ndarray:
    """Return a label map."""
    return np.asarray(nibabel.load(file).dataobj)


def two_models(trainer: str) -> list[tuple[str, str]]:
    """The trainer with its control on the same plans; the control with its own 2d model."""
    return [(trainer, "3d_fullres"), (CONTROL, "2d" if trainer == CONTROL else "3d_fullres")]


@pytest.mark.row("two folds -> find_best_configuration with the control -> ensemble -> post-process, {labels}")
@pytest.mark.parametrize("labels", ["plain", "regions"])
def test_find_best_and_ensemble(trainer: str, labels: str, tmp_path: Path) -> None:
    models, plans = two_models(trainer), model_plans(trainer, labels)
    for name, configuration in models:
        for fold in (0, 1):
            trained(name, labels, configuration, fold, PLANS if name == trainer else plans)
    stock(
        "nnUNetv2_find_best_configuration", prepare(labels), "-p", plans, "-np", 2, "-f", 0, 1,
        "-tr", *dict.fromkeys(name for name, _ in models), "-c", *dict.fromkeys(of for _, of in models),
    )  # fmt: skip
    found = json.loads((folder("nnUNet_results", labels) / "inference_information.json").read_text())
    assert len(found["all_results"]) == 3
    assert all(math.isfinite(dice) for dice in found["all_results"].values())

    predictions = []
    for index, (name, configuration) in enumerate(models):
        out = tmp_path / f"model {index}"
        of = PLANS if name == trainer else plans
        predict(name, labels, configuration, out, "--save_probabilities", folds=(0, 1), plans=of)
        predictions.append(out)
    ensemble = tmp_path / "ensemble"
    stock("nnUNetv2_ensemble", "-i", *predictions, "-o", ensemble, "-np", 2)
    check_predicted(labels, ensemble)

    best = found["best_model_or_ensemble"]
    final = tmp_path / "post-processed"
    stock(
        "nnUNetv2_apply_postprocessing", "-i", ensemble, "-o", final, "-np", 2,
        "-pp_pkl_file", best["postprocessing_file"], "-plans_json", best["some_plans_file"],
    )  # fmt: skip
    check_predicted(labels, final)


@pytest.mark.row("zip export, import into an empty results folder, predict from it")
def test_export_and_import(trainer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(trainer, "plain", "3d_fullres")
    before = predict(trainer, "plain", "3d_fullres", tmp_path / "before")
    archive = tmp_path / "model.zip"
    words = ("-o", archive, "-c", "3d_fullres", "-tr", trainer, "-p", model_plans(trainer, "plain"), "-f", 0)
    stock("nnUNetv2_export_model_to_zip", "-d", prepare("plain"), *words)
    with zipfile.ZipFile(archive) as file:
        assert any(name.endswith("fold_0/checkpoint_final.pth") for name in file.namelist())
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "empty"))
    stock("nnUNetv2_install_pretrained_model_from_zip", archive)
    assert model_folder(trainer, "plain", "3d_fullres").is_relative_to(tmp_path)
    after = predict(trainer, "plain", "3d_fullres", tmp_path / "after")
    check_predicted("plain", after)
    for file in before.glob("*.nii.gz"):
        np.testing.assert_array_equal(labels_in(file), labels_in(after / file.name))


@pytest.mark.row("nnUNetPredictor from Python: the same labels as nnUNetv2_predict")
def test_python_predictor(trainer: str, tmp_path: Path) -> None:
    trained(trainer, "plain", "3d_fullres")
    command = predict(trainer, "plain", "3d_fullres", tmp_path / "command")
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model_folder(trainer, "plain", "3d_fullres")), (0,))
    for file in sorted((folder("nnUNet_raw", "plain") / "imagesTs").glob("*.nii.gz")):
        image, properties = SimpleITKIO().read_images([str(file)])
        labels = predictor.predict_single_npy_array(image, properties)
        expected = labels_in(command / file.name.replace("_0000", ""))
        np.testing.assert_array_equal(labels, expected.transpose(2, 1, 0))


@pytest.mark.row("several folds and checkpoint_best at prediction")
def test_several_folds(trainer: str, tmp_path: Path) -> None:
    """The predictor loads each fold's weights again for every case."""
    for fold in (0, 1):
        trained(trainer, "plain", "3d_fullres", fold)
    out = tmp_path / "predictions"
    predict(trainer, "plain", "3d_fullres", out, "-chk", "checkpoint_best.pth", folds=(0, 1))
    check_predicted_and_evaluate("plain", out)
