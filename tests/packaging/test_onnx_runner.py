"""Predictions with an exported model in an environment that has neither torch nor nnU-Net."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK
from small_model import assert_labels_of, phantom, stock, write_image, write_small_model

from nnunet_ext.cli.predictions.predict_onnx import PACKAGES
from nnunet_ext.export.onnx_model import export_onnx

pytestmark = pytest.mark.slow
SPACING = (1.4, 1.1, 0.9)
ABSENT = ("torch", "nnunetv2", "batchgenerators", "nibabel", "skimage", "onnx", "pandas", "matplotlib")


def test_the_small_requirements_are_enough(bare_environment, wheel: Path, tmp_path: Path) -> None:
    bare_environment.pip("install", "--quiet", *PACKAGES)
    bare_environment.install(wheel)
    look = "from importlib.util import find_spec; import sys; print([n for n in sys.argv[1:] if find_spec(n)])"
    assert bare_environment.run("python", "-c", look, *ABSENT, "scipy") == "['scipy']\n"
    model = write_small_model(tmp_path / "results", folds=(0, 1))
    export_onnx(model, tmp_path / "onnx", show_progress=False)
    image = phantom()
    write_image(tmp_path / "images" / "a_0000.nii.gz", image[0], SPACING)
    words = ("-i", tmp_path / "images", "-o", tmp_path / "out", "-m", tmp_path / "onnx")
    said = bare_environment.run("nnunet_ext", "predict_onnx", *words)
    assert said == f"1 case predicted in {tmp_path / 'out'}\n"
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out" / "a.nii.gz")))
    assert_labels_of(stock(model, (0, 1)), found, image, SPACING, within=2)
    assert "predict_onnx" in bare_environment.run("nnunet_ext", "--help")
    assert "BANetTrainer" in bare_environment.run("nnunet_ext", "info")
