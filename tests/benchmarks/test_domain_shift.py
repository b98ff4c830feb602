"""The benchmark of domain shift: its fold, its arms and its tables by hand."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType

import pytest
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5

from nnunet_ext.base.knobs import parse
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.shifts.shift_scores import ShiftScores

FILE = Path(__file__).parents[2] / "benchmarks" / "domain_shift.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("raw", "preprocessed", "results", "extTrainer", "n_proc_DA"):
        monkeypatch.setenv(f"nnUNet_{name}", os.environ.get(f"nnUNet_{name}", ""))  # restored after the test
    spec = importlib.util.spec_from_file_location("benchmark_domain_shift", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_fourth_case_is_held_out(script, tmp_path, monkeypatch):
    source = tmp_path / "data" / script.SOURCE
    for folder, ending in (("imagesTr", "_0000"), ("labelsTr", "")):
        (source / folder).mkdir(parents=True)
        for number in range(10):
            (source / folder / f"case_{number}{ending}.nii.gz").touch()
    (source / "dataset.json").write_text(json.dumps({"numTraining": 10}))
    planned = tmp_path / "work" / "preprocessed" / script.DATASET
    monkeypatch.setattr(script, "run", lambda line: planned.mkdir())
    script.prepare(tmp_path / "work", tmp_path / "data", 9)
    (fold,) = json.loads((planned / "splits_final.json").read_text())
    assert fold["val"] == ["case_0", "case_4", "case_8"]
    assert len(fold["train"]) == 6
    assert not set(fold["train"]) & set(fold["val"])
    assert json.loads((tmp_path / "work/raw" / script.DATASET / "dataset.json").read_text()) == {"numTraining": 9}
    code: dict[str, type] = {}
    exec((tmp_path / "work" / "trainers" / f"{script.DA5}.py").read_text(), code)
    trainer = code[script.DA5]
    assert issubclass(trainer, ExtTrainer)
    of = trainer.__mro__.index
    assert of(ExtTrainer) < of(nnUNetTrainerDA5)  # whose augmentation comes before that of nnU-Net's trainer


def test_the_knobs_of_the_arms(script):
    own = {arm: parse(knobs.split()).get("domain_randomisation") for arm, (_, knobs) in script.ARMS.items()}
    assert own["nnU-Net"] is own["DA5"] is None
    assert own["histogram"]["inversion"] == 0  # a shift that is tested
    assert own["trid, paper"] == {"image": "none", "features": "trid", "range": [0, 1]}
    assert len({script.plans_of(arm, 0) for arm in own}) == len(own) == 9


def test_the_tables(script):
    def scores(*means: float) -> list[ShiftScores]:
        names = ("unshifted", "gamma 2", "inversion 1")
        return [ShiftScores(name, {"a": mean}, mean, 0.0) for name, mean in zip(names, means, strict=True)]

    found = {"nnU-Net": [scores(0.9, 0.7, 0.4), scores(0.8, 0.7, 0.4)], "gin": [scores(0.84, 0.64, 0.74)] * 2}
    steps = {"nnU-Net": 100, "gin": 90}
    overview, shifts, shares = (table.splitlines() for table in script.tables(found, steps).split("\n\n"))
    # 0.85 against a mean of 0.55; 0.84 against 0.69
    assert (
        overview[2]
        == "| nnU-Net | 100 | 0.9000, 0.8000 | 0.8500 | 0.0000 | 0.3000 | 1.00 | 0.5500 | 0.4000 | inversion 1 |"
    )
    assert overview[3] == "| gin | 90 | 0.8400, 0.8400 | 0.8400 | 0.0100 | 0.1500 | 0.50 | 0.6900 | 0.6400 | gamma 2 |"
    assert shifts[0] == "| arm | unshifted | gamma 2 | inversion 1 |"
    assert shifts[3] == "| gin | 0.840 | 0.640 | 0.740 |"
    assert shares[0].endswith("| gamma | inversion |")
    # of drops of 0.35 and 0.25, and without inversion of 0.2 and 0.1
    assert shares[3] == "| gin | 0.43, 0.60 | 1.00, 2.00 | 0.200 | 0.100 |"
