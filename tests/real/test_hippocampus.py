"""The README's lines on real scans, as a user types them, with a shortened schedule."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nnunet_ext import sockets

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("NNUNET_EXT_REAL_DATA", ROOT.parent / "shared" / "data"))
NAME = "Dataset004_Hippocampus"
TRAINING, VALIDATION = 40, 10


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    if not (DATA / NAME).is_dir():
        pytest.skip(f"{DATA / NAME} is not here; set NNUNET_EXT_REAL_DATA to the folder that holds it")
    root = tmp_path_factory.mktemp("real")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (root / name).mkdir()
    link_part(root / "nnUNet_raw" / NAME)
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "nnUNet_raw": str(root / "nnUNet_raw"),
        "nnUNet_preprocessed": str(root / "nnUNet_preprocessed"),
        "nnUNet_results": str(root / "nnUNet_results"),
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "2",
        sockets.VARIABLE: str(sockets.folder("trainers")),
    }


def link_part(folder: Path) -> None:
    """Make a dataset of the first cases only."""
    names = sorted(file.name for file in (DATA / NAME / "labelsTr").iterdir())[: TRAINING + VALIDATION]
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
        for name in names:
            file = name if kind == "labelsTr" else name.replace(".nii.gz", "_0000.nii.gz")
            (folder / kind / file).symlink_to(DATA / NAME / kind / file)
    description = json.loads((DATA / NAME / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(description | {"numTraining": len(names)}))


def readme_lines() -> list[str]:
    """The four lines of the README's section on real scans."""
    section = (ROOT / "README.md").read_text().partition("\n## Real scans")[2].partition("\n## ")[0]
    text = section.replace("\\\n", " ")
    wanted = ("nnunet_ext plan_and_preprocess -d 4", "nnUNetv2_train 4", "nnUNetv2_predict", "nnUNetv2_evaluate_folder")
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith(wanted)]
    assert [line.split()[0] for line in lines] == [words.split()[0] for words in wanted]
    return lines


def run(line: str, environment: dict[str, str]) -> str:
    words = shlex.split(re.sub(r"\$(\w+)", lambda name: environment[name[1]], line))
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_the_readmes_lines_on_the_hippocampus(environment):
    plan, train, predict, evaluate = readme_lines()
    preprocessed = Path(environment["nnUNet_preprocessed"]) / NAME
    run(re.sub(r"num_epochs=\d+", "num_epochs=6", plan), environment)
    truths = Path(environment["nnUNet_raw"], NAME, "labelsTr")
    cases = sorted(file.name.removesuffix(".nii.gz") for file in truths.iterdir())
    split = {"train": cases[:TRAINING], "val": cases[TRAINING:]}
    (preprocessed / "splits_final.json").write_text(json.dumps([split]))

    run(train, environment)
    model = Path(environment["nnUNet_results"]) / NAME / "BANetTrainer__LitePlans__3d_fullres"
    summary = json.loads((model / "fold_0/validation/summary.json").read_text())
    assert len(summary["metric_per_case"]) == VALIDATION
    assert summary["foreground_mean"]["Dice"] > 0.7

    unseen = Path(environment["nnUNet_raw"]).parent / "unseen"
    unseen.mkdir()
    for case in split["val"][:3]:
        (unseen / f"{case}_0000.nii.gz").symlink_to(DATA / NAME / "imagesTr" / f"{case}_0000.nii.gz")
    predicted = unseen.parent / "predicted"
    truth = unseen.parent / "truth"
    truth.mkdir()
    for case in split["val"][:3]:
        (truth / f"{case}.nii.gz").symlink_to(DATA / NAME / "labelsTr" / f"{case}.nii.gz")
    run(re.sub(r"-i \S+ -o \S+", f"-i {unseen} -o {predicted}", predict), environment)
    check_own_prediction(predict, model, unseen, predicted, environment)
    words = evaluate.split()
    words[1:3] = [str(truth), str(predicted)]
    words = [str(predicted / Path(word).name) if word.endswith(".json") else word for word in words]
    run(" ".join(words), environment)
    again = json.loads((predicted / "summary.json").read_text())
    by_case = {Path(case["prediction_file"]).name: case["metrics"] for case in summary["metric_per_case"]}
    for case in again["metric_per_case"]:  # prediction from raw files agrees with the validation after training
        for label, metrics in case["metrics"].items():
            expected = by_case[Path(case["prediction_file"]).name][label]["Dice"]
            assert metrics["Dice"] == pytest.approx(expected, abs=0.01)


def check_own_prediction(predict: str, model: Path, images: Path, predicted: Path, environment: dict[str, str]) -> None:
    """Check that our command has nnU-Net's labels, apart from voxels that check_parity found to be rounding."""
    root = images.parent
    ours = re.sub(r"-i \S+ -o \S+", f"-i {images} -o {root / 'ours'}", predict)
    told = run(ours.replace("nnUNetv2_predict", "nnunet_ext predict"), environment)
    assert f"3 cases predicted in {root / 'ours'}" in told
    # its exit code is 1 where two logits are more than a step of fp16 apart
    run(f"nnunet_ext check_parity {model} {images} -f 0 -device cpu -o {root / 'parity'} --keep", environment)
    assert len(list(predicted.glob("*.nii.gz"))) == 3
    for file in predicted.glob("*.nii.gz"):
        folders = (predicted, root / "ours", root / "parity" / "stock", root / "parity" / "nnunet_ext")
        theirs, own, compared, compared_own = (np.asarray(nibabel.load(each / file.name).dataobj) for each in folders)
        np.testing.assert_array_equal(theirs, compared)
        np.testing.assert_array_equal(own, compared_own)
        assert len(np.unique(theirs)) == 3
        assert (own != theirs).mean() < 1e-4
