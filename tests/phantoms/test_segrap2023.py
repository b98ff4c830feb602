"""A SegRap2023 folder that the converter takes without losing a voxel."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from nnunet_ext.challenges.segrap2023 import ORGANS, TUMORS
from nnunet_ext.cli.main import main
from nnunet_ext.phantoms.segrap2023 import write_segrap2023_phantoms


@pytest.mark.parametrize(("task", "last"), [("oar", 54), ("gtv", 2)])
def test_the_converter_takes_it(tmp_path, monkeypatch, task, last):
    for name in ("raw", "preprocessed"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    source = write_segrap2023_phantoms(tmp_path / "segrap", ORGANS, TUMORS, cases=3)
    assert main(["convert", f"segrap2023_{task}", str(source), "-d", "23", "-np", "1"]) == 0
    (folder,) = (tmp_path / "raw").iterdir()
    names = ["segrap_0000", "segrap_0000_b", "segrap_0001"]
    assert sorted(file.name.removesuffix(".nii.gz") for file in (folder / "labelsTr").iterdir()) == names
    for name in names:
        labels = np.asarray(nibabel.load(folder / "labelsTr" / f"{name}.nii.gz").dataobj)
        assert np.unique(labels).tolist() == list(range(last + 1))
    cases = json.loads((folder / "conversion.json").read_text())["cases"].values()
    assert [(case["lost"], case["gained"]) for case in cases] == [({}, {})] * 3
    both = [np.asarray(nibabel.load(folder / "imagesTr" / f"segrap_0000_000{n}.nii.gz").dataobj) for n in range(2)]
    assert not np.array_equal(*both)
