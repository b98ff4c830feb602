"""The loaded model: the labels of ``nnunet_ext predict``, whatever the file format."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from challenge_model import KITS, TUMORS, platform_image, same_geometry, write_challenge_model, write_input

from nnunet_ext.challenges.container.algorithm import Algorithm
from nnunet_ext.challenges.container.interface import INTERFACES
from nnunet_ext.challenges.container.settings import ContainerSettings
from nnunet_ext.errors import UserError
from nnunet_ext.prediction import Predictor

SETTINGS = ContainerSettings(INTERFACES["kits21"], ("0", "1"), time_budget=1000.0)
PLACE = "images/kidney-tumor-and-cyst"


def array(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


@pytest.mark.parametrize(
    ("reader", "ending"),
    [
        ("SimpleITKIO", ".mha"),
        ("SimpleITKIO", ".nii.gz"),
        ("SimpleITKIOWithReorient", ".nii.gz"),
        ("NibabelIOWithReorient", ".nii.gz"),
    ],
)
def test_the_labels_of_predict(tmp_path: Path, reader: str, ending: str) -> None:
    """Of a model of any reader and file ending, from an image with turned axes, whose geometry is kept exactly."""
    model = write_challenge_model(tmp_path / "results", reader=reader, ending=ending, folds=(0, 1))
    source = write_input(tmp_path / "input")
    written = Algorithm.load(model, SETTINGS, "cpu").run(tmp_path / "input", tmp_path / "output")
    assert written == [tmp_path / "output" / PLACE / "uuid.mha"]
    sitk.WriteImage(platform_image(), str(tmp_path / f"image{ending}"))
    Predictor(model, (0, 1), device="cpu").predict_files([tmp_path / f"image{ending}"], tmp_path / f"labels{ending}")
    found, expected = array(written[0]), array(tmp_path / f"labels{ending}")
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 1
    assert same_geometry(sitk.ReadImage(str(written[0])), sitk.ReadImage(str(source)))


def test_two_channels_and_structures(tmp_path: Path) -> None:
    model = write_challenge_model(tmp_path / "results", TUMORS)
    settings = ContainerSettings(INTERFACES["segrap2023_gtv"], ("0",))
    places = [image.relative_path for image in settings.interface.inputs]
    files = [write_input(tmp_path / "input", place, place[-9:], seed=seed) for seed, place in enumerate(places)]
    (written,) = Algorithm.load(model, settings, "cpu").run(tmp_path / "input", tmp_path / "output")
    assert written == tmp_path / "output/images/gross-tumor-volume-segmentation/d-neck-ct.mha"
    for number, file in enumerate(files):
        sitk.WriteImage(sitk.ReadImage(str(file)), str(tmp_path / f"{number}.nii.gz"))
    pair = [tmp_path / "0.nii.gz", tmp_path / "1.nii.gz"]
    Predictor(model, (0,), device="cpu").predict_files(pair, tmp_path / "labels.nii.gz")
    labels = array(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(array(written), np.stack([np.isin(labels, [1, 2]), np.isin(labels, [2, 3])]))


def test_several_cases(tmp_path: Path) -> None:
    """KiPA22: NIfTI files side by side, and the same names out."""
    model = write_challenge_model(tmp_path / "results", KITS | {"name": "kipa22", "channels": ["CTA"]})
    (tmp_path / "input").mkdir()
    for seed in range(2):
        sitk.WriteImage(platform_image(seed=seed), str(tmp_path / "input" / f"{seed}.nii.gz"))
    algorithm = Algorithm.load(model, ContainerSettings(INTERFACES["kipa22"], ("0",)), "cpu")
    written = algorithm.run(tmp_path / "input", tmp_path / "output")
    assert written == [tmp_path / "output" / "0.nii.gz", tmp_path / "output" / "1.nii.gz"]
    assert not np.array_equal(*map(array, written))


def test_the_time_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts where the caller says, and leaves time to write: as much as reading took, or 5 %."""
    model = write_challenge_model(tmp_path / "results")
    algorithm = Algorithm.load(model, ContainerSettings(INTERFACES["kits21"], ("0",), time_budget=100.0), "cpu")
    write_input(tmp_path / "input")
    begin = perf_counter()
    algorithm.run(tmp_path / "input", tmp_path / "output", begin - 60)
    assert algorithm._window.deadline == pytest.approx(begin + 35, abs=0.5)
    prepare = algorithm._stages.prepare
    monkeypatch.setattr(algorithm._stages, "prepare", lambda files: (_sleep(6.0), prepare(files))[1], raising=False)
    clock = [0.0]

    def _sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr("nnunet_ext.challenges.container.algorithm.perf_counter", lambda: clock[0])
    algorithm.run(tmp_path / "input", tmp_path / "other")
    assert algorithm._window.deadline == pytest.approx(94)


def test_models_that_do_not_fit(tmp_path: Path) -> None:
    model = write_challenge_model(tmp_path / "results", TUMORS)
    with pytest.raises(UserError, match="expected a model of 1 channels, as the settings have inputs, found 2"):
        Algorithm.load(model, ContainerSettings(INTERFACES["kits21"], ("0",)), "cpu")
    plans: dict[str, Any] = json.loads((model / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["resampling_fn_probabilities_kwargs"]["order"] = 3
    (model / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(UserError, match="splines of order 3"):
        Algorithm.load(model, ContainerSettings(INTERFACES["segrap2023_gtv"], ("0",)), "cpu")
