"""The README's section on collections, command by command as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnunet_ext import sockets

README = Path(__file__).parents[1] / "README.md"
TASKS = {"901_Organs": 2, "902_Lesion": 1, "903_Tumour": 2, "904_Lung": 1, "905_Kidney": 1}
VIEW = "UniSegTrainer__CollectionLitePlans_Dataset900_Phantoms__3d_fullres"


def blocks(heading: str) -> list[str]:
    """The shell blocks of one section."""
    section = README.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)


@pytest.mark.slow
def test_several_datasets_one_network(tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        sockets.VARIABLE: str(sockets.folder("trainers")),
    }
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        environment[f"nnUNet_{name}"] = str(tmp_path / name)

    def run(script: str) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    train, predict = blocks("Several datasets, one network")
    run(train)
    run(predict)
    own, all_tasks = (tmp_path / "predicted" / name for name in ("organs", "all"))
    for case in sorted((tmp_path / "raw" / "Dataset901_Organs" / "labelsTs").iterdir()):
        assert (own / case.name).read_bytes() == (all_tasks / "Organs" / case.name).read_bytes()
    assert sorted(place.name for place in all_tasks.iterdir() if place.is_dir()) == ["Kidney", "Lung", "Organs"]

    one_checkpoint = (tmp_path / "results" / "Dataset900_Phantoms").rglob("checkpoint_final.pth")
    assert len(list(one_checkpoint)) == 1
    for dataset, classes in TASKS.items():
        member = tmp_path / "raw" / f"Dataset{dataset}"
        summary = tmp_path / f"{dataset}.json"
        run(
            f"nnUNetv2_predict -d {dataset[:3]} -c 3d_fullres -f 0 -tr UniSegTrainer -device cpu -npp 0 -nps 0 "
            f"-p {VIEW.split('__')[1]} -i {member}/imagesTs -o out_{dataset} && "
            f"nnUNetv2_evaluate_folder {member}/labelsTs out_{dataset} -o {summary} "
            f"-djfile out_{dataset}/dataset.json -pfile out_{dataset}/plans.json"
        )
        dice = [values["Dice"] for values in json.loads(summary.read_text())["mean"].values()]
        assert len(dice) == classes
        assert np.min(dice) > 0.7, (dataset, dice)
