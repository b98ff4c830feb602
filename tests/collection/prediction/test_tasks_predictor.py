"""One pass over all tasks: the labels of the stock command on each view, with less work."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

from nnunet_ext.collection.prediction.tasks_predictor import TasksPredictor
from nnunet_ext.collection.prediction.viewed_task import ViewedTask
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.data.raw_dataset import list_images
from nnunet_ext.phantoms.dataset import phantom_case, write_nifti
from nnunet_ext.stock.entry_points import run_stock

TASKS = ("organ", "nested", "slab", "coarse")  # the first three are preprocessed alike
PLANS = "CollectionLitePlans_Dataset900_Shared"


@pytest.fixture(params=["UniSegTrainer", "MultiHeadTrainer", "DoDNetTrainer", "TransDoDNetTrainer"])
def trainer(request) -> str:
    return request.param


def model_folder(root: Path, trainer: str) -> Path:
    return root / "results" / "Dataset900_Shared" / f"{trainer}__CollectionLitePlans__3d_fullres"


def viewed_tasks(root: Path, trainer: str, *names: str) -> list[ViewedTask]:
    table = TaskTable.read(json.loads((model_folder(root, trainer) / "plans.json").read_text()))
    folders = {task.name: root / "results" / task.dataset / f"{trainer}__{PLANS}__3d_fullres" for task in table.tasks}
    return [ViewedTask.read(table, name, folders[name], "3d_fullres") for name in names]


def predictor(root: Path, trainer: str, folds: tuple[int, ...], **options: bool) -> TasksPredictor:
    made = TasksPredictor(device=torch.device("cpu"), allow_tqdm=False, **options)
    made.initialize_from_trained_model_folder(str(model_folder(root, trainer)), folds)
    return made


def wide_image(folder: Path) -> Path:
    """One image of 12x40x40 voxels: two windows of the patch 12x32x40; at 1.5 mm (12x27x27) one."""
    folder.mkdir()
    image, _ = phantom_case(np.random.default_rng(0), shape=(12, 40, 40))
    write_nifti(folder / "wide_0000.nii.gz", image[0], (2.5, 1.0, 1.0))
    return folder


def stock(root: Path, trainer: str, task: ViewedTask, images: Path, output: Path, *words: str) -> None:
    arguments = ["-d", task.task.dataset, "-tr", trainer, "-p", PLANS, "-c", "3d_fullres", "-device", "cpu"]
    arguments += ["-i", str(images), "-o", str(output), "-npp", "0", "-nps", "0", "--disable_progress_bar", *words]
    run_stock("nnUNetv2_predict", predict_entry_point, arguments)


def labels(file: Path) -> np.ndarray:
    return np.asarray(nibabel.load(file).dataobj)


@pytest.mark.parametrize("exporters", [0, 1])
def test_labels_of_the_stock_command(untrained, tmp_path, trainer, exporters):
    images = untrained / "raw" / "Dataset901_Organ" / "imagesTs"
    tasks = viewed_tasks(untrained, trainer, *TASKS)
    run = predictor(untrained, trainer, (0, 1))
    run.predict_tasks(list_images(images, ".nii.gz", 1), tasks, tmp_path / "ours", export_processes=exporters)
    constant = []
    for task in tasks:
        theirs, ours = tmp_path / "theirs" / task.task.name, tmp_path / "ours" / task.task.name
        stock(untrained, trainer, task, images, theirs, "-f", "0", "1")
        for case in ("unseen_000", "unseen_001"):
            expected = labels(theirs / f"{case}.nii.gz")
            np.testing.assert_array_equal(labels(ours / f"{case}.nii.gz"), expected)
            constant += [(task.task.name, case)] if len(np.unique(expected)) == 1 else []
        for name in ("plans.json", "dataset.json"):
            assert json.loads((ours / name).read_text()) == json.loads((theirs / name).read_text())
    assert len(constant) <= len(tasks) // 2, constant  # of twice as many predictions: random weights say something


def test_two_channels(untrained, tmp_path, trainer):
    images = untrained / "raw" / "Dataset904_Pair" / "imagesTs"
    tasks = viewed_tasks(untrained, trainer, "pair")
    run = predictor(untrained, trainer, (1,), use_mirroring=False)
    run.predict_tasks(list_images(images, ".nii.gz", 2), tasks, tmp_path)
    stock(untrained, trainer, tasks[0], images, tmp_path / "theirs", "-f", "1", "--disable_tta")
    for case in ("unseen_000.nii.gz", "unseen_001.nii.gz"):
        np.testing.assert_array_equal(labels(tmp_path / "pair" / case), labels(tmp_path / "theirs" / case))


def test_what_does_not_depend_on_the_task_is_computed_once(untrained, tmp_path, trainer, monkeypatch):
    images = wide_image(tmp_path / "images")
    run = predictor(untrained, trainer, (0,))
    calls: Counter[str] = Counter()
    run.network.encoder.register_forward_hook(lambda *_: calls.update(["encoder"]))
    run.network.decoder.register_forward_hook(lambda *_: calls.update(["decoder"]))
    run_case = DefaultPreprocessor.run_case
    monkeypatch.setattr(DefaultPreprocessor, "run_case", lambda *a: calls.update(["preprocessed"]) or run_case(*a))
    run.predict_tasks(list_images(images, ".nii.gz", 1), viewed_tasks(untrained, trainer, *TASKS), tmp_path / "out")
    windows = {"three tasks": 2, "coarse": 1}
    mirrors = 8
    assert calls["preprocessed"] == 2
    assert calls["encoder"] == mirrors * (windows["three tasks"] + windows["coarse"])
    shared_decoder = trainer != "UniSegTrainer"  # heads of all tasks lie on one decoder
    assert calls["decoder"] == (24 if shared_decoder else mirrors * (3 * windows["three tasks"] + windows["coarse"]))


def test_few_heads_at_once_and_continuing(untrained, tmp_path, trainer):
    """Tasks of 4, 3 and 4 heads, of which no more than 7 come together: two passes of the network, the same labels."""
    images, names = wide_image(tmp_path / "images"), ("organ", "nested", "slab")
    tasks = viewed_tasks(untrained, trainer, *names)
    assert [task.task.heads for task in tasks] == [4, 3, 4]
    cases = list_images(images, ".nii.gz", 1)
    made: dict[str, list[tuple[int, int]]] = {}
    for output, options in {"all": {}, "few": {"heads_at_once": 7}, "one": {"heads_at_once": 1}}.items():
        run = predictor(untrained, trainer, (0,), use_mirroring=False)
        passes: list[int] = []
        run.network.register_forward_hook(lambda _, __, logits, passes=passes: passes.append(logits.shape[1]))
        run.predict_tasks(cases, tasks, tmp_path / output, **options)
        made[output] = sorted(Counter(passes).items())
    assert made == {"all": [(11, 2)], "few": [(4, 2), (7, 2)], "one": [(3, 2), (4, 4)]}  # two windows each
    for name in names:
        everything, few, one = (labels(tmp_path / output / name / "wide.nii.gz") for output in made)
        np.testing.assert_array_equal(few, everything)
        np.testing.assert_array_equal(one, everything)
    (tmp_path / "all" / "slab" / "wide.nii.gz").unlink()
    kept = tmp_path / "all" / "organ" / "wide.nii.gz"
    kept.write_bytes(b"kept")
    passes.clear()
    for _ in range(2):
        run.predict_tasks(cases, tasks, tmp_path / "all", overwrite=False)
    assert passes == [4, 4]  # slab's two windows, once
    assert kept.read_bytes() == b"kept"
    np.testing.assert_array_equal(labels(tmp_path / "all" / "slab" / "wide.nii.gz"), one)


def test_stock_prediction_encodes_for_each_task(untrained, tmp_path, monkeypatch):
    """The count that the one above is to be compared with."""
    images = wide_image(tmp_path / "images")
    calls = 0
    forward = torch.nn.Module.__call__

    def count(module, *arguments, **options):
        nonlocal calls
        calls += type(module).__name__ == "PlainConvEncoder"
        return forward(module, *arguments, **options)

    monkeypatch.setattr(torch.nn.Module, "__call__", count)
    for task in viewed_tasks(untrained, "UniSegTrainer", *TASKS):
        stock(untrained, "UniSegTrainer", task, images, tmp_path / "out" / task.task.name, "-f", "0")
    assert calls == 8 * (3 * 2 + 1)


def test_the_order_of_tasks_does_not_matter(untrained, tmp_path):
    images = wide_image(tmp_path / "images")
    for output, names in (("a", ("slab", "coarse", "organ")), ("b", ("organ", "slab"))):
        run = predictor(untrained, "UniSegTrainer", (0,), use_mirroring=False)
        tasks = viewed_tasks(untrained, "UniSegTrainer", *names)
        run.predict_tasks(list_images(images, ".nii.gz", 1), tasks, tmp_path / output)
    for task in ("organ", "slab"):
        first, second = (labels(tmp_path / output / task / "wide.nii.gz") for output in ("a", "b"))
        np.testing.assert_array_equal(first, second)
