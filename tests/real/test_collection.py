"""Two halves of one real dataset, annotated for one class each, and another dataset: collected, planned, trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_ext import sockets

pytestmark = pytest.mark.slow
DATA = Path(os.environ.get("NNUNET_EXT_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
HIPPOCAMPUS, ATRIUM = "Dataset004_Hippocampus", "Dataset020_LeftAtrium"
KNOBS = "num_epochs=4 num_iterations_per_epoch=60 num_val_iterations_per_epoch=2 optimizer=AdamW initial_lr=3e-3 seed=0"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("real")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (root / name).mkdir()
    for name in (HIPPOCAMPUS, ATRIUM):
        if not (DATA / name).is_dir():
            pytest.skip(f"{DATA / name} is not here; set NNUNET_EXT_REAL_DATA to the folder that holds it")
        (root / "nnUNet_raw" / name).symlink_to(DATA / name)
    folders = {name: str(root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | folders | {"PATH": path, sockets.VARIABLE: str(sockets.folder("trainers"))}


def run(line: str, environment: dict[str, str]) -> str:
    done = subprocess.run(line.split(), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_partly_annotated_halves_and_another_data_set(environment: dict[str, str]) -> None:
    root = Path(environment["nnUNet_raw"]).parent
    hippocampi = sorted(file.name.removesuffix(".nii.gz") for file in (DATA / HIPPOCAMPUS / "labelsTr").iterdir())
    atria = (DATA / ATRIUM / "labelled_first.txt").read_text().split()
    for name, cases in {"front": hippocampi[:40:2], "back": hippocampi[1:40:2], "atria": atria[:8]}.items():
        (root / f"{name}.txt").write_text("\n".join(cases))
    run(
        f"nnunet_ext collect -d 900 -n Real 4:labels=Anterior,name=anterior,cases={root}/front.txt "
        f"4:labels=Posterior,name=posterior,cases={root}/back.txt 20:name=atrium,cases={root}/atria.txt",
        environment,
    )
    run(f"nnunet_ext plan_and_preprocess -d 900 -pl CollectionLitePlanner --no_pbar --set {KNOBS}", environment)
    mixed = "--as Mixed --set multi_dataset.mixed_batches=true num_epochs=6"
    run(f"nnunet_ext variant -d 900 -p CollectionLitePlans {mixed}", environment)
    results = Path(environment["nnUNet_results"]) / "Dataset900_Real"
    for trainer, plans in (("UniSegTrainer", "CollectionLitePlans"), ("DoDNetTrainer", "Mixed")):
        run(f"nnUNetv2_train 900 3d_fullres 0 -tr {trainer} -p {plans} -device cpu", environment)
        model = results / f"{trainer}__{plans}__3d_fullres"
        scores = json.loads((model / "fold_0" / "validation" / "tasks.json").read_text())
        assert list(scores) == ["anterior", "posterior", "atrium"]
        for task, classes in scores.items():
            for name, dice in classes.items():
                assert dice > 0.5, (trainer, task, name, dice)
