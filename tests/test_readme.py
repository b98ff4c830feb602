"""The README's sections on own data, collections, unlabelled images, labels and challenges, command by command."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from nnunetv2.evaluation.evaluate_predictions import compute_metrics
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext import sockets
from nnunet_ext.challenges.segrap2023 import ORGANS

README = Path(__file__).parents[1] / "README.md"
TASKS = {"901_Organs": 2, "902_Lesion": 1, "903_Tumour": 2, "904_Lung": 1, "905_Kidney": 1}
VIEW = "UniSegTrainer__CollectionLitePlans_Dataset900_Phantoms__3d_fullres"


def blocks(heading: str) -> list[str]:
    """The shell blocks of one section."""
    section = README.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str], None]:
    """Run a block in ``tmp_path``, where nnU-Net's folders are."""
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

    return run


def scores(root: Path, truth: Path, predicted: str) -> list[float]:
    """Dice of each class, mean over cases, by nnU-Net's own evaluation."""
    folder = root / predicted
    dataset = json.loads((folder / "dataset.json").read_text())
    handler = PlansManager(str(folder / "plans.json")).get_label_manager(dataset)
    classes = handler.foreground_regions if handler.has_regions else handler.foreground_labels
    cases = [
        compute_metrics(str(file), str(folder / file.name), SimpleITKIO(), classes, handler.ignore_label)["metrics"]
        for file in sorted(truth.iterdir())
    ]
    return [float(np.nanmean([case[each]["Dice"] for case in cases])) for each in classes]


@pytest.mark.slow
def test_your_own_data(tmp_path: Path, run: Callable[[str], None]) -> None:
    """Of the colleague's model only the zip file is there; where the model goes, only stock nnU-Net is."""
    colleague, own = blocks("Your own data")
    run(colleague)
    for name in ("raw", "preprocessed", "results"):
        shutil.rmtree(tmp_path / name / "Dataset901_Organs")
    run(own)
    report = json.loads(
        (tmp_path / "results" / "Dataset902_Lesion" / "FineTuneTrainer__FineTunePlans__3d_fullres" / "fold_0")
        .joinpath("fine_tuning.json")
        .read_text()
    )
    (lesion,) = report["classes"]
    assert (lesion["class"], lesion["verdict"]) == ("lesion", "new")
    assert lesion["after"] > max(0.8, lesion["before"])  # a new row at random may score by chance
    decided = json.loads((tmp_path / "preprocessed" / "Dataset902_Lesion" / "FineTunePlans.json").read_text())
    origins = {each["what"]: each["from"] for each in decided["fine_tuned_from"]["decisions"]}
    assert (origins["network"], origins["channels"], origins["classes"]) == ("source", "target", "target")
    assert "## Intended use" in (tmp_path / "lesion.md").read_text()

    images, truth = (tmp_path / "raw" / "Dataset902_Lesion" / name for name in ("imagesTs", "labelsTs"))
    shutil.rmtree(tmp_path / "results" / "Dataset902_Lesion")
    run(
        f"unset {sockets.VARIABLE}\n"
        "nnUNetv2_install_pretrained_model_from_zip lesion.zip\n"
        "nnUNetv2_predict -d Dataset902_Lesion -c 3d_fullres -tr nnUNetTrainer -p FineTunePlans -f 0 "
        f"-device cpu -npp 0 -nps 0 -i {images} -o predicted/stock"
    )
    for case in sorted(truth.iterdir()):
        ours, stock = (nibabel.load(tmp_path / "predicted" / name / case.name) for name in ("lesion", "stock"))
        assert (np.asarray(ours.dataobj) != np.asarray(stock.dataobj)).mean() < 1e-3
    (dice,) = scores(tmp_path, truth, "predicted/stock")
    assert dice > 0.7


@pytest.mark.slow
def test_several_datasets_one_network(tmp_path: Path, run: Callable[[str], None]) -> None:
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
        member, predicted = tmp_path / "raw" / f"Dataset{dataset}", f"predicted/{dataset[4:].lower()}"
        if not (tmp_path / predicted).exists():  # README predicts the organs
            run(
                f"nnUNetv2_predict -d {dataset[:3]} -c 3d_fullres -f 0 -tr UniSegTrainer -device cpu -npp 0 -nps 0 "
                f"-p {VIEW.split('__')[1]} -i {member}/imagesTs -o {predicted}"
            )
        dice = scores(tmp_path, member / "labelsTs", predicted)
        assert len(dice) == classes
        assert np.min(dice) > 0.7, (dataset, dice)


@pytest.mark.slow
def test_unlabelled_images(tmp_path: Path, run: Callable[[str], None]) -> None:
    (everything,) = blocks("Unlabelled images")
    run(everything)
    dice = scores(tmp_path, tmp_path / "raw" / "Dataset901_Organs" / "labelsTs", "predicted/few_labels")
    assert len(dice) == 2
    assert np.min(dice) > 0.7, dice


@pytest.mark.slow
def test_few_slices_and_several_raters(tmp_path: Path, run: Callable[[str], None]) -> None:
    slices, raters, _ = blocks("Labels as they come")
    run(slices)
    dice = scores(tmp_path, tmp_path / "raw" / "Dataset901_Organs" / "labelsTs", "predicted/slices")
    assert len(dice) == 2
    assert np.min(dice) > 0.7, dice
    run(f"export nnUNet_n_proc_DA=1 nnUNet_def_n_proc=1\n{raters}")
    with (tmp_path / "scores.csv").open(newline="") as file:
        table = [row for row in csv.DictReader(file) if row["class"] == "liver"]
    consensus, view = (np.mean([float(row[f"{kind}dice generous"]) for row in table]) for kind in ("", "view "))
    assert view > consensus
    generous, strict = (
        sum(np.count_nonzero(nibabel.load(file).dataobj) for file in (tmp_path / "predicted" / plans).glob("*.nii.gz"))
        for plans in ("LitePlans_generous", "LitePlans_strict")
    )
    assert generous > 1.1 * strict


@pytest.mark.slow
def test_wrong_labels(tmp_path: Path, run: Callable[[str], None]) -> None:
    *_, wrong = blocks("Labels as they come")
    run(f"export nnUNet_n_proc_DA=1 nnUNet_def_n_proc=1\n{wrong}")
    with (tmp_path / "suspects.csv").open(newline="") as file:
        reasons = {row["case"]: row["reasons"] for row in csv.DictReader(file)}
    for case, word in {"case_000": "mirrored", "case_001": "shifted", "case_002": "swapped"}.items():
        assert word in reasons[case], reasons
    dropped = {file.name[:8] for file in (tmp_path / "raw" / "Dataset921_OrgansCorrected" / "imagesUn").iterdir()}
    assert dropped >= {"case_000", "case_001", "case_002"}


@pytest.mark.slow
def test_before_labels(tmp_path: Path, run: Callable[[str], None]) -> None:
    pretraining, shifts = blocks("Before labels, and beyond your scanner")
    run(pretraining)
    results = tmp_path / "results"
    restored = (
        results / "Dataset811_Scans" / "MaskedAutoencoderTrainer__LitePlans__3d_fullres" / "fold_all" / "validation"
    )
    errors = json.loads((restored / "summary.json").read_text())
    assert errors["masked_error"] < errors["constant"]
    run(f"export nnUNet_n_proc_DA=1 nnUNet_def_n_proc=1\n{shifts}")
    dice = scores(tmp_path, tmp_path / "raw" / "Dataset901_Organs" / "labelsTs", "predicted/adapted")
    assert len(dice) == 2
    assert np.min(dice) > 0.7, dice
    with (tmp_path / "predicted" / "adapted" / "adaptation.csv").open(newline="") as file:
        assert all(float(row["agreement"]) > 0.5 for row in csv.DictReader(file))
    with (tmp_path / "shifts" / "shift_test.csv").open(newline="") as file:
        assert len({row["shift"] for row in csv.DictReader(file)}) == 13  # six shifts, two strengths each, and none
    assert (tmp_path / "shifts" / "shift_test.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "challenge", "volumes"), [(0, "kits21", None), (1, "segrap", len(ORGANS))], ids=["kits21", "segrap2023"]
)
def test_a_challenge_end_to_end(
    tmp_path: Path, run: Callable[[str], None], block: int, challenge: str, volumes: int | None
) -> None:
    """From the phantoms of a download to the container's program, which predicts its test input."""
    run(blocks("A challenge, end to end")[block])
    scores = json.loads((tmp_path / f"{challenge}_scores" / "evaluation.json").read_text())
    assert len(scores["cases"]) == 2
    container = tmp_path / f"{challenge}_container"
    given, *_ = (container / "test" / "input").rglob("*ct/*.mha")
    (written,) = (container / "test" / "output").iterdir()
    image, labels = SimpleITK.ReadImage(given), SimpleITK.ReadImage(written)
    assert labels.GetSize() == image.GetSize() + (() if volumes is None else (volumes,))
    assert labels.GetOrigin()[:3] == image.GetOrigin()
    assert {"Dockerfile", "container.json", "model.tar.gz", "wheels"} <= {file.name for file in container.iterdir()}


def test_ci_finds_the_test_command(tmp_path: Path):
    """``.ci/run`` up to where it would build the environment."""
    contributing = README.with_name("CONTRIBUTING.md")
    (tmp_path / ".ci").mkdir()
    script = (README.parent / ".ci" / "run").read_text().partition("\nbash ")[0]
    (tmp_path / ".ci" / "run").write_text(script)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", tmp_path / ".ci" / "run"], capture_output=True, text=True, check=False)

    (tmp_path / "CONTRIBUTING.md").write_text(contributing.read_text(encoding="utf-8"))
    found = run()
    assert found.returncode == 0
    assert found.stdout.startswith("CONTRIBUTING's test command: python3 -m venv .venv && .venv/bin/pip install")
    (tmp_path / "CONTRIBUTING.md").write_text("nothing")
    missing = run()
    assert (missing.returncode, missing.stderr) == (
        1,
        "CONTRIBUTING.md: expected a line with the test command, found none\n",
    )
