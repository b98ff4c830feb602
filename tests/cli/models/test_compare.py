"""``nnunet_ext compare``: from plans to table, going on where it stopped, and what it refuses."""

import csv
import hashlib
import json
import shlex
import shutil
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pytest
from matplotlib.image import imread

from nnunet_ext.cli.common.shell import Shell
from nnunet_ext.cli.main import main
from nnunet_ext.cli.models.train import Train
from nnunet_ext.comparison.arm import Arm
from nnunet_ext.comparison.leakage import check_scored_apart
from nnunet_ext.comparison.scored_cases import ScoredCases
from nnunet_ext.comparison.setting import Setting
from nnunet_ext.errors import UserError
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.stock.entry_points import run_stock

COMPARE = ["compare", "-d", "700", "-p", "LitePlans", "-c", "3d_fullres", "-device", "cpu", "--epochs", "2"]
CONTROL = "NNUNetBaselineTrainer"


@pytest.fixture
def root(half_labelled, tmp_path, monkeypatch):
    """A preprocessed dataset; the comparison lies in ``out`` of the working folder."""
    half_labelled(NNUNetBaselineTrainer)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "plain/preprocessed/Dataset700_Half/LitePlans.json"
    block = {"format": 1, "num_iterations_per_epoch": 9, "num_val_iterations_per_epoch": 1}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"nnunet_ext": block}))
    return tmp_path / "plain"


@pytest.fixture
def ran(monkeypatch):
    """Commands are run in this process; returns them as typed."""
    from nnunetv2.inference.predict_from_raw_data import predict_entry_point
    from nnunetv2.run.run_training import run_training_entry

    programs = {"nnUNetv2_train": run_training_entry, "nnUNetv2_predict": predict_entry_point}
    commands = []

    def run(self, words, *, epochs=0):
        commands.append(shlex.join(words))
        run_stock(words[0], programs[words[0]], words[1:])

    monkeypatch.setattr(Shell, "run", run)
    return commands


def copies(raw: Path) -> list[str]:
    """Copy images and labels of the training cases; return the options that have them scored."""
    for kind in ("images", "labels"):
        shutil.copytree(raw / f"{kind}Tr", f"tests/{kind}")
    return ["--test_images", "tests/images", "--test_labels", "tests/labels"]


def record(key: str) -> dict:
    return json.loads(Path(f"out/runs/{key}.json").read_text())


def compare(*words: str) -> int:
    return main([*COMPARE, "--iterations", "1", "-o", "out", "-tr", *words])


@pytest.mark.usefixtures("drawn")
@pytest.mark.smoke
def test_validation_cases_then_more_runs_then_other_settings(root, ran, mistake, capfd):
    assert compare(f"plain net={CONTROL}") == 0
    train = "nnUNetv2_train 700 3d_fullres 0 -tr NNUNetBaselineTrainer -p LitePlans_plain-net_s0 -device cpu"
    assert ran == [train]
    one = record("plain-net_fold0_seed0")
    cases, hardware, versions = one.pop("cases"), one.pop("hardware"), one.pop("versions")
    assert one.pop("training_seconds") > 0
    assert len(one.pop("plans_sha256")) == 64
    assert one.pop("data")["cases"]["Dataset700_Half"]["train"]["number"] == 4
    assert one == {
        "format": 1,
        "name": "plain net",
        "trainer": CONTROL,
        "knobs": {"num_epochs": 2, "num_iterations_per_epoch": 1, "num_val_iterations_per_epoch": 1},
        "dataset": "Dataset700_Half",
        "plans": "LitePlans",
        "configuration": "3d_fullres",
        "fold": "0",
        "seed": 0,
        "scored": "validation",
        "cases_sha256": {},
        "site": None,
        "epochs": 2,
        "iterations_per_epoch": 1,
        "commands": [
            "nnunet_ext variant -d 700 -p LitePlans --as LitePlans_plain-net_s0 --set num_epochs=2 "
            "num_iterations_per_epoch=1 seed=0",
            train,
        ],
    }
    assert hardware["device"] == "cpu"
    assert {"nnunet_ext", "nnunetv2", "torch"} <= set(versions)
    validation = root / "results/Dataset700_Half" / f"{CONTROL}__LitePlans_plain-net_s0__3d_fullres/fold_0/validation"
    for entry in json.loads((validation / "summary.json").read_text())["metric_per_case"]:
        scores = cases.pop(Path(entry["prediction_file"]).name.removesuffix(".nii.gz"))
        assert list(scores) == ["organ", "wall", "tumour"]
        assert [each["dice"] for each in scores.values()] == pytest.approx(
            [entry["metrics"][label]["Dice"] for label in "123"]
        )
    assert cases == {}
    assert imread("out/figure.png").std() > 0

    capfd.readouterr()
    assert compare(f"plain net={CONTROL}", f"slow={CONTROL}:initial_lr=0.001") == 0
    assert ran[1:] == [train.replace("plain-net", "slow")]
    printed = capfd.readouterr().out
    assert "Run 1 of 2: plain net, fold 0, seed 0\n  is done: Dice 0." in printed
    text = Path("out/results.md").read_text()
    assert text in printed
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")] == [
        "mean ± spread over seeds",
        "plain net",
        "slow",
        "each run",
        "plain net",
        "slow",
    ]
    rows = list(csv.reader(Path("out/cases.csv").read_text().splitlines()))
    assert rows[0] == ["name", "fold", "seed", "case", "class", "dice", "hd95_mm"]
    assert len(rows) == 1 + 2 * 3 * len(record("slow_fold0_seed0")["cases"])

    assert compare(f"plain net={CONTROL}", "--metrics", "dice,nsd@2mm") == 0
    found = record("plain-net_fold0_seed0")
    assert found["metrics"] == ["nsd@2mm"]
    assert {*next(iter(found["cases"].values()))["wall"]} == {"dice", "hd95_mm", "nsd@2mm"}
    assert Path("out/cases.csv").read_text().splitlines()[0] == "name,fold,seed,case,class,dice,hd95_mm"
    elsewhere = {"hardware": {"device": "cuda"}, "versions": {"torch": "1"}, "commands": ["trained"]}
    Path("out/runs/plain-net_fold0_seed0.json").write_text(json.dumps(found | elsewhere))
    assert compare(f"plain net={CONTROL}", "--metrics", "hd95_area") == 0
    again = record("plain-net_fold0_seed0")
    assert again["metrics"] == ["nsd@2mm", "hd95_area"], "numbers that are there stay"
    assert {key: again[key] for key in elsewhere} == elsewhere, "of the training, not of the scoring"
    assert compare(f"plain net={CONTROL}", f"slow={CONTROL}:initial_lr=0.001", "--metrics", "nsd@2mm") == 0
    assert Path("out/cases.csv").read_text().splitlines()[0] == "name,fold,seed,case,class,dice,hd95_mm,nsd@2mm"
    assert len(ran) == 2, "nothing is trained again"

    text = mistake([*COMPARE, "--iterations", "1", "-o", "out", "-tr", f"slow={CONTROL}"])
    assert text.startswith(
        "out/runs/slow_fold0_seed0.json: expected the settings that this run began with, got initial_lr: 0.001 -> None."
    )
    text = mistake([*COMPARE, "--iterations", "1", "-o", "elsewhere", "-tr", f"slow={CONTROL}"])
    assert text.startswith(
        f"{root / 'preprocessed/Dataset700_Half/LitePlans_slow_s0.json'}: expected the settings that this run began "
        "with, got initial_lr: 0.001 -> 0.01."
    )
    assert len(ran) == 2


@contextmanager
def ctrl_c_after_an_epoch(monkeypatch):
    ended = NNUNetBaselineTrainer.on_epoch_end

    def interrupted(self):
        ended(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as first:
        first.setattr(NNUNetBaselineTrainer, "on_epoch_end", interrupted)
        yield


def test_an_interrupted_run_goes_on(root, ran, monkeypatch, capfd):
    images = copies(root / "raw/Dataset700_Half")
    with ctrl_c_after_an_epoch(monkeypatch):
        assert compare(CONTROL, "-f", "all", "--seeds", "4", *images) == 130
    said = capfd.readouterr().err.splitlines()[-1]
    assert said == "nnunet_ext: interrupted (SIGINT). Run the same command again to resume."
    assert not list(Path("out/runs").glob("*"))
    assert compare(CONTROL, "-f", "all", "--seeds", "4", *images) == 0
    train = f"nnUNetv2_train 700 3d_fullres all -tr {CONTROL} -p LitePlans_{CONTROL}_s4 -device cpu"
    key = f"{CONTROL}_foldall_seed4"
    predict = (
        f"nnUNetv2_predict -i out/images -o out/predictions/{key} -d 700 -c 3d_fullres -tr {CONTROL} "
        f"-p LitePlans_{CONTROL}_s4 -f all -chk checkpoint_final.pth -npp 0 -nps 0 -device cpu"
    )
    assert ran == [train, f"{train} --c", predict]
    found = record(key)
    assert found["commands"][1:] == [train, predict.replace("out/", "")]
    assert found["scored"] == "test images"
    assert found["cases_sha256"].keys() == found["cases"].keys()
    case = next(iter(found["cases"]))
    files = [
        root / "raw/Dataset700_Half" / file for file in (f"labelsTr/{case}.nii.gz", f"imagesTr/{case}_0000.nii.gz")
    ]
    digests = "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    assert found["cases_sha256"][case] == hashlib.sha256(digests.encode()).hexdigest()
    for case, scores in found["cases"].items():
        prediction, truth = (
            np.asarray(nibabel.load(place / f"{case}.nii.gz").dataobj)
            for place in (Path("out/predictions") / key, root / "raw/Dataset700_Half/labelsTr")
        )
        organ = 2 * ((prediction == 1) & (truth == 1)).sum() / ((prediction == 1).sum() + (truth == 1).sum())
        assert scores["organ"]["dice"] == pytest.approx(organ)
    assert len(found["cases"]) == 5

    Path(f"out/runs/{key}.json").unlink()  # as if it had been killed while predicting
    assert compare(CONTROL, "-f", "all", "--seeds", "4", *images) == 0
    assert ran[3:] == [predict]

    model = root / f"results/Dataset700_Half/{CONTROL}__LitePlans_{CONTROL}_s4__3d_fullres"
    summary = model / "fold_all/validation/summary.json"
    for change in (lambda: summary.write_text("{"), summary.unlink):  # as if killed in the training's validation
        Path(f"out/runs/{key}.json").unlink()
        change()
        assert compare(CONTROL, "-f", "all", "--seeds", "4", *images) == 0
        assert ran[-2:] == [f"{train} --val", predict]
        assert json.loads(summary.read_text())["metric_per_case"]


def test_cases_that_hide_labels_set_apart(root, ran, monkeypatch):
    copy = root / "raw/Dataset700_Half"
    name = sorted((copy / "labelsTr").iterdir())[0].name.removesuffix(".nii.gz")
    shutil.copytree(copy / "imagesTr", copy / "imagesTs")
    entry = {"images": [f"imagesTs/{name}_0000.nii.gz"], "label": f"labelsTr/{name}.nii.gz"}
    for file in (copy / "dataset.json", root / "preprocessed/Dataset700_Half/dataset.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"test": {"far": entry}}))
    assert compare(CONTROL) == 0
    assert [command.split()[0] for command in ran] == ["nnUNetv2_train", "nnUNetv2_predict"]
    found = record(f"{CONTROL}_fold0_seed0")
    assert (list(found["cases"]), found["scored"]) == (["far"], "test")
    assert Path("out/images/far_0000.nii.gz").resolve() == copy / entry["images"][0]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nnUNetTrainer"], "-tr nnUNetTrainer: expected a trainer of nnunet_ext, because others take neither seed"),
        (["MaskedAutoencoderTrainer"], "expected a trainer whose predictions can be scored, found one that segments"),
        (["BANetTrainr"], "-tr: unknown trainer 'BANetTrainr'. Did you mean 'BANetTrainer'?"),
        ([f"a={CONTROL}:num_epoch=1"], "-tr 'a': unknown knob 'num_epoch'. Did you mean 'num_epochs'?"),
        ([CONTROL, "-f", "all"], "-f all: expected cases to score, as this fold trains on all. Give --test_images"),
        ([CONTROL, "--test_images", "x"], "--test_images: expected --test_labels beside it and no --score."),
        ([CONTROL, "--seeds", "1", "1"], "--seeds, -f: expected each once"),
        ([CONTROL, "--score", "test"], "expected cases under 'test', found none."),
        ([CONTROL, "--epochs", "0"], "--epochs: expected a number from 1 up, got 0."),
        ([CONTROL, "-c", "3d_lowres"], "unknown configuration '3d_lowres'."),
        (
            [f"{CONTROL}:{'+'.join(['initial_lr=0.01'] * 6)}"],
            "initial_lr=0.01': expected a shorter name, because it becomes part of the name of plans, 'LitePlans_NN",
        ),
        ([f"{CONTROL}:{'+'.join(['initial_lr=0.01'] * 20)}"], "Give one: -tr NAME=TRAINER."),
    ],
)
def test_mistakes_are_told_before_anything_is_written(root, ran, mistake, words, text):
    before = sorted(root.rglob("*"))
    assert text in mistake([*COMPARE, "--iterations", "1", "-o", "out", "-tr", *words])
    assert sorted(root.rglob("*")) == before
    assert not Path("out").exists()
    assert ran == []


def test_a_test_image_without_label_and_other_files_among_the_images(root, ran, mistake):
    raw = root / "raw/Dataset700_Half"
    words = [*COMPARE, "-o", "out", "-tr", CONTROL, "--test_images", str(raw / "imagesUn"), "--test_labels", str(raw)]
    assert mistake(words).startswith(f"{raw}/unlabelled_000.nii.gz: expected the label of test image 'unlabelled_000'")
    Path("out/images").mkdir(parents=True)
    Path("out/images/mine.txt").touch()
    words[-4:] = copies(raw)
    assert mistake(words).startswith("out/images: expected the images to score and nothing else, found mine.txt.")


def test_cases_that_a_training_sees_are_not_scored(root, ran, mistake):
    """Under their own names or others, labelled or not; the hidden labels of unlabelled images may be scored."""
    raw, planned = root / "raw/Dataset700_Half", root / "preprocessed/Dataset700_Half"
    words = [*COMPARE, "--iterations", "1", "-o", "out", *copies(raw), "-tr", CONTROL]
    (Path("tests/images") / "case_000_0000.nii.gz").unlink()
    (Path("tests/images") / "case_000_0000.nii.gz").symlink_to(raw / "imagesTr" / "case_003_0000.nii.gz")
    expected = "expected to score cases that the training does not see, got "
    folds = [{"train": ["case_000", "case_003"], "val": ["case_001"]}, {"train": ["case_000"], "val": ["case_003"]}]
    folds[0]["unused"] = ["case_002", "case_004"]
    (planned / "splits_final.json").write_text(json.dumps(folds))
    seen = f"-tr {CONTROL}, fold {{}}: {expected}case_000, which it trains on as Dataset700_Half/case_003."
    assert mistake([*words, "-f", "1", "0"]).startswith(seen.format(0))
    assert mistake([*words, "-f", "1", "all"]).startswith(seen.format("all"))
    assert "fold below 2, got 2" in mistake([*words, "-f", "2"])  # nnU-Net would draw it
    folds[0]["train"].append("case_001")
    (planned / "splits_final.json").write_text(json.dumps(folds))
    assert f"{expected}Dataset700_Half/case_001, which it trains on" in mistake([*words[:-6], *words[-2:]])
    folds[0]["train"].remove("case_001")
    (planned / "splits_final.json").write_text(json.dumps(folds))

    (Path("tests/images") / "case_000_0000.nii.gz").unlink()
    (Path("tests/images") / "case_000_0000.nii.gz").hardlink_to(raw / "imagesUn" / "unlabelled_002_0000.nii.gz")
    found = mistake([*words, "MeanTeacherTrainer", "-f", "1"])
    assert found.startswith(f"-tr MeanTeacherTrainer, fold 1: {expected}case_000, which it sees unlabelled as Dataset7")
    entry = {"images": ["imagesUn/unlabelled_002_0000.nii.gz"]}
    for file in (raw / "dataset.json", planned / "dataset.json"):
        hidden = {
            "hidden_labels": {"unlabelled_002": "labelsTr/case_000.nii.gz"},
            "unlabelled": {"unlabelled_002": entry},
        }
        file.write_text(json.dumps(json.loads(file.read_text()) | hidden))
    scored = ScoredCases.find("700", "hidden_labels", None, None)
    check_scored_apart(
        Setting("700", "LitePlans", "3d_fullres", "cpu", Path("out"), (), scored), Arm.parse("MeanTeacherTrainer"), "1"
    )
    assert not Path("out").exists()
    assert ran == []


def test_a_trainer_whose_knobs_need_no_unlabelled_images(root, ran, mistake):
    planned = root / "preprocessed" / "Dataset700_Half"
    for folder in (root / "raw" / "Dataset700_Half" / "imagesUn", *planned.glob("*_unlabelled")):
        shutil.rmtree(folder)
    for file in planned.glob("*_unlabelled.complete.json"):
        file.unlink()
    words = ["train", "700", "3d_fullres", "1", "-tr", "PseudoLabelTrainer", "-p", "LitePlans", "-device", "cpu"]
    assert "expected preprocessed unlabelled images" in mistake(words)
    arms = [Arm.parse("PseudoLabelTrainer"), Arm.parse("PseudoLabelTrainer:pseudo_label.ignored_voxels=true")]
    scored = ScoredCases.find("700", "validation", None, None)
    setting = Setting("700", "LitePlans", "3d_fullres", "cpu", Path("out"), (), scored)
    Train(words[1:]).check(arms[1].knobs)
    check_scored_apart(setting, arms[1], "1")
    for check in (Train(words[1:]).check, lambda knobs: check_scored_apart(setting, arms[0], "1")):
        with pytest.raises(UserError, match="expected preprocessed unlabelled images"):
            check(())


def change_plans(root: Path, change) -> None:
    file = root / "preprocessed/Dataset700_Half/LitePlans.json"
    plans = json.loads(file.read_text())
    change(plans)
    file.write_text(json.dumps(plans))


def set_patch_size(plans: dict) -> None:
    plans["configurations"]["3d_fullres"]["patch_size"] = [8, 16, 16]


@contextmanager
def changed_json(file):
    """For a while the folds are in another order, or there is another fingerprint."""
    kept = file.read_text()
    content = json.loads(kept)
    if isinstance(content, list):
        content.reverse()
    else:
        content["spacings"].reverse()
        content["spacings"].pop()
    file.write_text(json.dumps(content))
    try:
        yield
    finally:
        file.write_text(kept)


def test_other_files_plans_or_classes_are_refused_before_anything_is_trained(root, ran, mistake):
    raw, tests = root / "raw/Dataset700_Half", Path("tests")
    scored = copies(raw)
    words = [*COMPARE, "--iterations", "1", "-o", "out", *scored, "-tr"]
    assert main([*words, f"a={CONTROL}"]) == 0
    trained = len(ran)
    before = sorted(Path().rglob("*"))
    content = record("a_fold0_seed0")

    for case, file in zip(content["cases"], ("images/{}_0000.nii.gz", "labels/{}.nii.gz"), strict=False):
        changed = tests / file.format(case)
        kept = changed.read_bytes()
        changed.write_bytes(kept + b"\0")
        assert mistake([*words, f"a={CONTROL}"]) == (
            "out/runs/a_fold0_seed0.json: expected the settings that this run began with, got other files of "
            f"{case} to score. Set them back, or choose another -tr NAME=TRAINER; for other files to score, another -o."
        )
        assert mistake([*words, f"b={CONTROL}"]).startswith("fold 0: expected all runs to be scored on the same cases,")
        changed.write_bytes(kept)
    assert mistake([*COMPARE, "-o", "out", "-tr", f"b={CONTROL}"]) == (
        "fold 0: expected all runs to be scored on the same cases, files and classes, got others for 'b' (1 cases) "
        "than for 'a' (5). Choose another -o."
    )

    base = (root / "preprocessed/Dataset700_Half/LitePlans.json").read_text()
    for change in (
        set_patch_size,
        lambda plans: plans["configurations"]["3d_fullres"].update(nnunet_ext={"weight_decay": 0.5}),
    ):
        change_plans(root, change)
        assert (
            "a_fold0_seed0.json: expected the settings that this run began with, got other plans 'LitePlans'. Set"
            in (mistake([*words, f"a={CONTROL}"]))
        )
        (root / "preprocessed/Dataset700_Half/LitePlans.json").write_text(base)
    change_plans(root, lambda plans: plans.update(transpose_forward=[2, 1, 0]))
    assert "they were planned again since they were preprocessed" in mistake([*words, f"a={CONTROL}"])
    (root / "preprocessed/Dataset700_Half/LitePlans.json").write_text(base)
    for file, text in (
        ("dataset_fingerprint.json", "another dataset_fingerprint.json: it has been extracted again since"),
        ("splits_final.json", "other training cases of Dataset700_Half (splits_final.json: 4 -> 4)"),
    ):
        with changed_json(root / "preprocessed/Dataset700_Half" / file):
            assert f"expected the settings that this run began with, got {text}. Set" in mistake(
                [*words, f"a={CONTROL}"]
            )
            older = {key: value for key, value in content.items() if key != "data"}
            Path("out/runs/a_fold0_seed0.json").write_text(json.dumps(older))
            assert main([*words, f"a={CONTROL}"]) == 0  # an earlier version recorded none
        Path("out/runs/a_fold0_seed0.json").write_text(json.dumps(content, indent=1))
    change_plans(root, lambda plans: plans["configurations"].update(mine={"inherits_from": "2d"}))
    assert main([*words, f"a={CONTROL}"]) == 0  # another configuration does not matter
    assert len(ran) == trained
    assert record("a_fold0_seed0") == content
    assert sorted(Path().rglob("*")) == before


def test_a_training_that_began_with_other_plans_is_refused(root, ran, mistake, monkeypatch):
    with ctrl_c_after_an_epoch(monkeypatch):
        assert compare(f"a={CONTROL}") == 130
    words = [*COMPARE, "--iterations", "1", "-o", "out", "-tr", f"a={CONTROL}"]
    with changed_json(root / "preprocessed/Dataset700_Half/splits_final.json"):
        assert (
            "/checkpoint_best.pth: expected the plans and data that the run began with, got other training cases of "
            "Dataset700_Half (splits_final.json: 4 -> 4). Restore them, or train"
        ) in mistake(words)
    change_plans(root, set_patch_size)
    variant = root / "preprocessed/Dataset700_Half/LitePlans_a_s0.json"
    assert mistake(words) == (
        f"{variant}: expected the settings that this run began with, got other configurations.3d_fullres.patch_size. "
        "Set them back, or choose another -tr NAME=TRAINER; for other files to score, another -o."
    )
    variant.unlink()
    assert "/plans.json: expected the settings that this run began with, got other plans 'LitePlans'." in mistake(words)
    assert len(ran) == 1


def test_a_knob_that_the_configuration_keeps_is_refused_in_our_words(root, ran, mistake):
    change_plans(root, lambda plans: plans["configurations"]["3d_fullres"].update(nnunet_ext={"num_epochs": 7}))
    words = [*COMPARE, "-o", "out", "-tr", f"a={CONTROL}"]
    assert mistake(words).startswith(
        "-tr 'a': num_epochs=2: expected to take effect, but configuration '3d_fullres' has"
    )
    assert ran == []


@pytest.mark.slow
def test_with_nnunets_own_programs(root, capfd):
    assert compare("MeanTeacherTrainer") == 0
    assert record("MeanTeacherTrainer_fold0_seed0")["cases"]
    log = Path("out/logs/MeanTeacherTrainer_fold0_seed0/01_nnUNetv2_train.log").read_text()
    assert log.startswith("$ nnUNetv2_train 700 3d_fullres 0 -tr MeanTeacherTrainer")
    assert compare("MeanTeacherTrainer") == 0
    assert "is done: " in capfd.readouterr().out
