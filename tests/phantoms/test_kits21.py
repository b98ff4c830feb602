"""A KiTS21 folder that the converter takes: the labels are the annotators' majority."""

from __future__ import annotations

import json

import nibabel
import numpy as np

from nnunet_ext.cli.main import main
from nnunet_ext.phantoms.dataset import TUMOUR, phantom_case
from nnunet_ext.phantoms.kits21 import SPACING, write_kits21_phantoms

SHAPE = (12, 24, 20)


def test_the_converter_takes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    (tmp_path / "raw").mkdir()
    source = write_kits21_phantoms(tmp_path / "kits", cases=2, shape=SHAPE)
    assert main(["convert", "kits21", str(source), "-d", "21", "-np", "1"]) == 0
    folder = tmp_path / "raw" / "Dataset021_KiTS2021"
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 2
    for number in range(2):
        image = nibabel.load(folder / "imagesTr" / f"case_{number:05d}_0000.nii.gz")
        written = nibabel.load(folder / "labelsTr" / f"case_{number:05d}.nii.gz")
        assert nibabel.aff2axcodes(image.affine) == ("I", "P", "L")
        assert np.array_equal(image.affine, written.affine)
        found = np.asarray(written.dataobj)
        _, label = phantom_case(np.random.default_rng((21, number)), shape=SHAPE, spacing=SPACING)
        assert np.array_equal(found > 0, label > 0)
        assert np.array_equal(found == 2, label == TUMOUR)
        assert (found == 3).any() == bool(number % 2)
