"""``nnunet_ext predict_tasks``, from images to label maps that nnU-Net evaluates; mistakes in one line."""

from __future__ import annotations

import json
import logging
import shutil
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nnunetv2.evaluation.evaluate_predictions import evaluate_folder_entry_point
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from tqdm import tqdm

from nnunet_ext.cli.main import main
from nnunet_ext.phantoms.dataset import phantom_case, write_nifti
from nnunet_ext.stock.entry_points import run_stock

QUICK = ["-device", "cpu", "-npp", "0", "-nps", "0", "--disable_progress_bar", "--disable_tta", "-f", "0"]
COLLECTION = "results/Dataset900_Shared/UniSegTrainer__CollectionLitePlans__3d_fullres"
VIEW = "UniSegTrainer__CollectionLitePlans_Dataset900_Shared__3d_fullres"


def words(root: Path, *more: str, images: str = "Dataset901_Organ") -> list[str]:
    folders = ["-i", str(root / "raw" / images / "imagesTs"), "-o", str(root / "out")]
    return ["predict_tasks", "-d", "900", "-p", "CollectionLitePlans", *folders, *QUICK, *more]


def labels(file: Path) -> np.ndarray:
    return np.asarray(nibabel.load(file).dataobj)


@pytest.mark.smoke
def test_all_tasks_that_take_the_images(untrained, monkeypatch, capsys):
    monkeypatch.delenv("nnUNet_preprocessed")
    assert main(words(untrained)) == 0
    assert capsys.readouterr().out.endswith(f"2 cases: organ, nested, slab, coarse in {untrained / 'out'}\n")
    for task in ("organ", "nested", "slab", "coarse"):
        files = {path.name for path in (untrained / "out" / task).iterdir()}
        assert files == {"unseen_000.nii.gz", "unseen_001.nii.gz", "plans.json", "dataset.json"}
    assert len(list((untrained / "out").iterdir())) == 4  # without --merge nothing is merged


PLAIN = ["-f", "0", "--disable_tta"]
OPTIONS = {
    "mirroring": ["-f", "0"],
    "step size": [*PLAIN, "-step_size", "1"],
    "folds": ["-f", "0", "1", "--disable_tta"],
    "checkpoint": [*PLAIN, "-chk", "checkpoint_best.pth"],
}


def test_options_have_the_effect_that_they_have_in_the_stock_command(untrained, tmp_path):
    """Each option changes the labels, and to the same labels as nnUNetv2_predict on the task's view."""
    collection = untrained / COLLECTION
    view = untrained / "results" / "Dataset901_Organ" / VIEW
    for model in (collection, view):
        shutil.copy(collection / "fold_1" / "checkpoint_final.pth", model / "fold_0" / "checkpoint_best.pth")
    images = tmp_path / "images"
    images.mkdir()
    image, _ = phantom_case(np.random.default_rng(0), shape=(12, 80, 40))  # four windows, or three
    write_nifti(images / "long_0000.nii.gz", image[0], (2.5, 1.0, 1.0))
    where = ["-i", str(images), "-o"]
    how = ["-device", "cpu", "-npp", "0", "-nps", "0", "--disable_progress_bar"]

    def predicted(name: str, options: list[str]) -> np.ndarray:
        ours, theirs = tmp_path / "ours" / name, tmp_path / "theirs" / name
        ask = ["predict_tasks", "-d", "900", "-p", "CollectionLitePlans", "--tasks", "organ"]
        assert main([*ask, *where, str(ours), *how, *options]) == 0
        trainer, plans, configuration = VIEW.split("__")
        model = ["-d", "901", "-tr", trainer, "-p", plans, "-c", configuration]
        run_stock("nnUNetv2_predict", predict_entry_point, [*model, *where, str(theirs), *how, *options])
        found, expected = labels(ours / "organ" / "long.nii.gz"), labels(theirs / "long.nii.gz")
        np.testing.assert_array_equal(found, expected, name)
        return found

    plain = predicted("plain", PLAIN)
    for name, options in OPTIONS.items():
        assert not np.array_equal(predicted(name, options), plain), name


def test_evaluation(untrained):
    assert main(words(untrained, "--tasks", "pair", images="Dataset904_Pair")) == 0
    out = untrained / "out" / "pair"
    truth = untrained / "raw" / "Dataset904_Pair" / "labelsTs"
    files = ["-djfile", str(out / "dataset.json"), "-pfile", str(out / "plans.json"), "-np", "1"]
    run_stock("nnUNetv2_evaluate_folder", evaluate_folder_entry_point, [str(truth), str(out), *files])
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["mean"]) == {"1", "2", "3"}


def test_merging(untrained):
    assert main(words(untrained, "--merge", "organ:tumour", "nested", "organ")) == 0
    out = untrained / "out"
    description = json.loads((out / "merged" / "dataset.json").read_text())
    names = ["organ:tumour", "nested:tumour", "nested:wall", "nested:organ", "organ:organ", "organ:wall"]
    assert description["labels"] == {"background": 0} | {name: number for number, name in enumerate(names, start=1)}
    for case in ("unseen_000.nii.gz", "unseen_001.nii.gz"):
        organ, nested = labels(out / "organ" / case), labels(out / "nested" / case)
        conditions = [organ == 3, nested == 3, nested == 2, nested == 1, organ == 1, organ == 2]
        expected = np.select(conditions, [1, 2, 3, 4, 5, 6])
        np.testing.assert_array_equal(labels(out / "merged" / case), expected)
        affine = nibabel.load(
            untrained / "raw" / "Dataset901_Organ" / "imagesTs" / case.replace(".", "_0000.", 1)
        ).affine
        np.testing.assert_allclose(nibabel.load(out / "merged" / case).affine, affine)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--tasks", "orgn"], "Dataset900_Shared: unknown task 'orgn'. Did you mean 'organ'?"),
        (
            ["--tasks", "organ", "pair"],
            "imagesTs: expected images with 2 channels (.nii.gz) for pair, found images with 1 channel (.nii.gz).",
        ),
        (["--merge", "pair"], "--merge pair: expected a task that is predicted."),
        (["--merge", "organ:tumor"], "unknown label 'tumor' of task 'organ'. Did you mean 'tumour'?"),
        (
            ["-f", "3"],
            "fold_3/checkpoint_final.pth: expected the checkpoint of fold 3, found no file. Trained: -f 0 1.",
        ),
        (["-tr", "UniSegTrainr"], "-tr: unknown trainer 'UniSegTrainr'. Did you mean 'UniSegTrainer'?"),
        (["-p", "Other"], "UniSegTrainer__Other__3d_fullres: expected a trained model, found none."),
        (["-i", "/nowhere"], "-i: expected a folder, found none at /nowhere."),
        (["-c", "2d"], "expected a trained model, found none."),
        (["-num_parts", "2", "-part_id", "2"], "-part_id 2 -num_parts 2: expected a part from 0 to -num_parts - 1."),
    ],
)
def test_mistakes(untrained, mistake, more, text):
    assert text in mistake(words(untrained, *more))
    assert not (untrained / "out" / "organ").exists()


def test_tasks_that_expect_other_channels_are_told(untrained, capsys):
    description = untrained / "results" / "Dataset902_Nested" / VIEW / "dataset.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"channel_names": {"0": "T1"}}))
    assert main(words(untrained, "-f", "3")) == 2  # ends before it predicts
    assert "WARNING: the tasks expect images with different channels" in capsys.readouterr().err
    assert main(words(untrained, "-f", "3", "--tasks", "organ", "slab")) == 2
    assert "WARNING" not in capsys.readouterr().err


def test_parts_and_continuing(untrained, monkeypatch):
    from nnunet_ext.collection.prediction.tasks_predictor import TasksPredictor

    seen = []
    make, predict = TasksPredictor.__init__, TasksPredictor.predict_tasks

    def notes_options(self, *arguments, **options):
        seen.append(options["on_device"])
        make(self, *arguments, **options)

    def notes_heads(self, *arguments, **options):
        seen.append([options[name] for name in ("heads_at_once", "read_ahead", "write_behind", "check")])
        return predict(self, *arguments, **options)

    monkeypatch.setattr(TasksPredictor, "__init__", notes_options)
    monkeypatch.setattr(TasksPredictor, "predict_tasks", notes_heads)
    options = ["--tasks", "organ", "nested", "--merge", "organ", "nested"]
    assert main(words(untrained, *options, "-num_parts", "2", "-part_id", "1", "--not_on_device")) == 0
    for task in ("organ", "nested", "merged"):
        assert [file.name for file in (untrained / "out" / task).glob("*.nii.gz")] == ["unseen_001.nii.gz"]
    done = untrained / "out" / "organ" / "unseen_001.nii.gz"
    before = done.stat().st_mtime_ns
    more = ["--continue_prediction", "-heads_at_once", "4", "-npp", "1", "-nps", "1", "--no_check"]
    assert main(words(untrained, *options, *more)) == 0
    for task in ("organ", "nested", "merged"):
        assert len(list((untrained / "out" / task).glob("*.nii.gz"))) == 2
    assert done.stat().st_mtime_ns == before
    assert seen == [False, [None, False, False, False], True, [4, True, True, True]]


def test_images_that_no_task_takes(untrained, mistake):
    images = untrained / "raw" / "Dataset904_Pair" / "imagesTs"
    for case in ("unseen_000", "unseen_001"):
        shutil.copy(images / f"{case}_0001.nii.gz", images / f"{case}_0002.nii.gz")
    assert "found images with 3 channels (.nii.gz). Give other" in mistake(words(untrained, images="Dataset904_Pair"))


def test_a_view_that_is_missing(untrained, mistake):
    shutil.rmtree(untrained / "results" / "Dataset903_Slab")
    text = mistake(words(untrained))
    assert (
        f"Dataset903_Slab/{VIEW}/plans.json: expected the view of task 'slab', found no file. Run nnunet_ext " in text
    )
    assert main(words(untrained, "--tasks", "organ")) == 0


def test_no_gpu(untrained, mistake, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "expected a GPU, torch finds none. Add -device cpu" in mistake(words(untrained, "-device", "cuda"))


def test_a_truncated_image(untrained, mistake):
    file = untrained / "raw" / "Dataset901_Organ" / "imagesTs" / "unseen_001_0000.nii.gz"
    file.write_bytes(file.read_bytes()[:-300])
    assert mistake(words(untrained)).startswith(f"{file}: expected an intact image, but it is corrupt")


def test_a_truncated_image_that_is_not_read_first(untrained, capfd):
    """Other cases are predicted and merged; of this one, an older label map stays, and is not merged."""
    options = ["--tasks", "organ", "coarse", "--merge", "organ", "coarse"]
    assert main(words(untrained, *options)) == 0
    shutil.rmtree(untrained / "out" / "merged")
    capfd.readouterr()
    file = untrained / "raw" / "Dataset901_Organ" / "imagesTs" / "unseen_000_0000.nii.gz"
    file.write_bytes(file.read_bytes()[:-300])
    assert main(words(untrained, *options, "--no_check")) == 1
    shown = capfd.readouterr()
    assert shown.out == f"1 case: organ, coarse in {untrained / 'out'}\n"
    reason = f"{file}: expected an intact image, but it is corrupt or truncated"
    *logged, title, line = shown.err.splitlines()
    assert [each.split(": ")[:2] for each in logged] == [
        ["nnunet_ext", "organ"],
        ["nnunet_ext", "coarse"],
        ["nnunet_ext", "case unseen_000 was not predicted for organ"],
        ["nnunet_ext", "case unseen_000 was not predicted for coarse"],
    ]
    assert title == "1 case not predicted:"
    assert line.startswith(f"unseen_000, organ, coarse: {reason}")
    assert [each.name for each in (untrained / "out" / "merged").glob("*.gz")] == ["unseen_001.nii.gz"]
    assert (untrained / "out" / "organ" / "unseen_000.nii.gz").is_file()


def test_the_logs(untrained, capsys):
    """Who resamples, once for each group of tasks; afterwards logs are silent again."""
    package = logging.getLogger("nnunet_ext")
    before = package.handlers[:], package.level
    assert main(words(untrained, "--tasks", "organ", "nested", "coarse")) == 0
    assert capsys.readouterr().err == (
        "nnunet_ext: organ, nested: images are resampled by nnunet_ext\n"
        "nnunet_ext: coarse: images are resampled by nnunet_ext\n"
    )
    assert (package.handlers, package.level) == before


def test_progress_bars(untrained, monkeypatch, capfd):
    monkeypatch.setattr("nnunet_ext.prediction.cases.tqdm", partial(tqdm, mininterval=0))  # a window is soon done
    quiet = words(untrained, "--tasks", "organ", "coarse", "--no_check")
    quiet.remove("--disable_progress_bar")
    assert main(quiet) == 0
    shown = capfd.readouterr().err
    assert "cases: 100%" in shown
    assert "4/4" in shown  # two cases, for each of two groups
    assert "unseen_000: 100%" in shown


def test_predict_on_a_view_whose_checkpoint_is_gone(untrained, mistake):
    shared = untrained / COLLECTION / "fold_0" / "checkpoint_final.pth"
    shared.unlink()
    images = untrained / "raw" / "Dataset904_Pair" / "imagesTs"
    line = f"predict -d 904 -i {images} -o {untrained / 'out'} -tr UniSegTrainer -c 3d_fullres -device cpu -f 0"
    text = mistake([*line.split(), "-p", "CollectionLitePlans_Dataset900_Shared"])
    link = untrained / "results" / "Dataset904_Pair" / VIEW / "fold_0" / "checkpoint_final.pth"
    assert text == (
        f"{link}: expected the checkpoint that the tasks of a collection share, {shared}, found it gone. Restore that "
        f"file, or train the collection again."
    )


@pytest.mark.parametrize("name", ["dataset.json", "plans.json"])
@pytest.mark.parametrize("text", ["{}", "[]", "{"])
def test_a_view_with_a_broken_file(untrained, mistake, name, text):
    view = next((untrained / "results").glob("Dataset901_*/UniSegTrainer*"))
    (view / name).write_text(text)
    assert f"{view / name}: expected " in mistake(words(untrained))
