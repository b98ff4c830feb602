"""Steps that fill the same time, shuffled images and the tables, by hand."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "pretraining.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_pretraining", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "path", [str(FILE.parent), *sys.path])  # as when it is run: it imports another one
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("arm", "steps"),
    [
        ("nnU-Net", (0, 250)),
        ("nnU-Net, the same time", (0, 1250)),
        ("nnU-Net, the same time, warm-up", (0, 1250)),
        ("pre-trained", (1250, 250)),  # 1000 / 0.8
        ("pre-trained, encoder alone", (1250, 250)),
        ("pre-trained, shuffled voxels", (1250, 250)),
        ("nnU-Net, twice the steps", (0, 500)),
        ("pre-trained, half of the time", (312, 250)),  # 250 / 0.8
    ],
)
def test_each_arm_has_the_time_that_it_says(script, arm, steps):
    assert script.steps_of(script.ARMS[arm], 250, 1000, 0.8) == steps


def test_arms_of_one_pre_training_share_it(script):
    assert script.ARMS["pre-trained"].pretraining == script.ARMS["pre-trained, encoder alone"].pretraining
    assert script.first_like("pre-trained, half of the time") == "pre-trained"
    assert {script.first_like(f"nnU-Net, {name}") for name in ("the same time", "twice the steps")} == {"nnU-Net"}
    different = [name for name in script.ARMS if script.first_like(name) == name]
    assert len(different) == len(script.ARMS) - 3
    used = {arm.pretraining for arm in script.ARMS.values()} - {None}
    assert used == set(script.PRETRAININGS)
    assert "." not in script.plans_of("Pre", "ratio 0.5", 1250, 0)


def test_shuffled_images_have_the_values_of_the_pooled_ones(script, tmp_path):
    source = tmp_path / "source"
    (source / "imagesTr").mkdir(parents=True)
    (source / "dataset.json").write_text('{"numTraining": 80}')
    voxels = np.random.default_rng(0).random((5, 4, 6)).astype(np.float32) + 1
    voxels[:2, :2, :2] = 0
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.25, 1.25, 1.25, 1])), source / "imagesTr" / "a_0000.nii.gz")
    script.shuffle(source, ["a"], tmp_path / "out")
    image = nibabel.load(tmp_path / "out" / "imagesTr" / "a_0000.nii.gz")
    pooled = voxels[:4].reshape(2, 2, 2, 2, 3, 2).mean((1, 3, 5))
    found = np.asarray(image.dataobj)
    assert image.header.get_zooms() == (2.5, 2.5, 2.5)
    assert found[0, 0, 0] == 0
    np.testing.assert_allclose(np.sort(found, axis=None), np.sort(pooled, axis=None), rtol=1e-6)
    assert not np.allclose(found, pooled)
    assert json.loads((tmp_path / "out" / "dataset.json").read_text()) == {"numTraining": 1}


def test_the_tables(script, tmp_path):
    def run(seconds, dice):
        cases = {name: {"x": {"dice": value}} for name, value in zip("ab", dice, strict=True)}
        return {"cpu_seconds": seconds, "pretraining_cpu_seconds": 100, "cases": cases}

    runs = {("pre-trained", 100): [run(10, (0.8, 0.9)), run(20, (0.6, 0.9))]}
    assert script.table(runs, [100]).splitlines()[2] == "| pre-trained | 0.850, 0.750: 0.800 ± 0.071 (0.70) | 115 |"
    (tmp_path / "validation").mkdir()
    found = {"masked_error": 0.4, "blurring": 0.5, "constant": 1.0, "learnt_more_than_blurring": True}
    (tmp_path / "validation" / "summary.json").write_text(json.dumps(found))
    last = script.table_of_errors({("restoring", 0, 1250): tmp_path}).splitlines()[2]
    assert last == "| restoring | 0 | 1250 | 0.400 | 0.500 | 1.000 | yes |"
