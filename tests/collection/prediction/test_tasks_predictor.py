"""One pass over all tasks: the labels of the stock command on each view, with less work."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

from nnunet_ext.collection.prediction import tasks_predictor
from nnunet_ext.collection.prediction.tasks_predictor import FailedCase, TasksPredictor
from nnunet_ext.collection.prediction.viewed_task import ViewedTask
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.data.raw_dataset import list_images
from nnunet_ext.errors import UserError
from nnunet_ext.phantoms.dataset import phantom_case, write_nifti
from nnunet_ext.prediction.prepared_case import PreparedCase
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
    return TasksPredictor(model_folder(root, trainer), folds, device="cpu", **options)


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


def test_labels_of_the_stock_command(untrained, tmp_path, trainer):
    images = untrained / "raw" / "Dataset901_Organ" / "imagesTs"
    tasks = viewed_tasks(untrained, trainer, *TASKS)
    run = predictor(untrained, trainer, (0, 1))
    assert run.predict_tasks(list_images(images, ".nii.gz", 1), tasks, tmp_path / "ours") == []
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
    run = predictor(untrained, trainer, (1,), mirroring=False)
    run.predict_tasks(list_images(images, ".nii.gz", 2), tasks, tmp_path)
    stock(untrained, trainer, tasks[0], images, tmp_path / "theirs", "-f", "1", "--disable_tta")
    for case in ("unseen_000.nii.gz", "unseen_001.nii.gz"):
        np.testing.assert_array_equal(labels(tmp_path / "pair" / case), labels(tmp_path / "theirs" / case))


def test_what_does_not_depend_on_the_task_is_computed_once(untrained, tmp_path, trainer, monkeypatch):
    images = wide_image(tmp_path / "images")
    run = predictor(untrained, trainer, (0,))
    calls: Counter[str] = Counter()
    run.model.network.encoder.register_forward_hook(lambda *_: calls.update(["encoder"]))
    run.model.network.decoder.register_forward_hook(lambda *_: calls.update(["decoder"]))
    run_case = DefaultPreprocessor.run_case_npy
    monkeypatch.setattr(DefaultPreprocessor, "run_case_npy", lambda *a: calls.update(["preprocessed"]) or run_case(*a))
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
    alone = {"read_ahead": False, "write_behind": False}
    for output, options in {"all": {}, "few": {"heads_at_once": 7}, "one": {"heads_at_once": 1} | alone}.items():
        run = predictor(untrained, trainer, (0,), mirroring=False)
        passes: list[int] = []
        run.model.network.register_forward_hook(lambda _, __, logits, passes=passes: passes.append(logits.shape[1]))
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
        run = predictor(untrained, "UniSegTrainer", (0,), mirroring=False)
        tasks = viewed_tasks(untrained, "UniSegTrainer", *names)
        run.predict_tasks(list_images(images, ".nii.gz", 1), tasks, tmp_path / output)
    for task in ("organ", "slab"):
        first, second = (labels(tmp_path / output / task / "wide.nii.gz") for output in ("a", "b"))
        np.testing.assert_array_equal(first, second)


def change_plans(root: Path, trainer: str, task: str, **settings: object) -> None:
    """Change a view's plans; settings of the configuration are given by its keys."""
    dataset = viewed_tasks(root, trainer, task)[0].task.dataset
    file = root / "results" / dataset / f"{trainer}__{PLANS}__3d_fullres" / "plans.json"
    plans = json.loads(file.read_text())
    for key, value in settings.items():
        (plans if key in plans else plans["configurations"]["3d_fullres"])[key] = value
    file.write_text(json.dumps(plans))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]}, None),
        ({"resampling_fn_probabilities": "resample_torch_fornnunet"}, "the plans name resample_torch_fornnunet"),
        (
            {"resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 3, "order_z": 0}},
            "the plans resample logits with splines of order 3",
        ),
    ],
    ids=["axes", "function", "order"],
)
def test_plans_of_its_own(untrained, tmp_path, settings, why, caplog):
    """One of two tasks has its own axes, or logits that only nnU-Net's export resamples."""
    trainer = "MultiHeadTrainer"
    if "resampling_fn_probabilities" in settings:
        settings = settings | {"resampling_fn_probabilities_kwargs": {"is_seg": False, "force_separate_z": False}}
    change_plans(untrained, trainer, "nested", **settings)
    images = tmp_path / "images"
    images.mkdir()
    image, _ = phantom_case(np.random.default_rng(0), shape=(12, 33, 41))
    write_nifti(images / "wide_0000.nii.gz", image[0], (2.4, 1.1, 0.9))
    tasks = viewed_tasks(untrained, trainer, "organ", "nested")
    run = predictor(untrained, trainer, (0, 1), mirroring=False)
    assert run.predict_tasks(list_images(images, ".nii.gz", 1), tasks, tmp_path / "ours") == []
    for task in tasks:
        theirs = tmp_path / "theirs" / task.task.name
        stock(untrained, trainer, task, images, theirs, "-f", "0", "1", "--disable_tta")
        expected = labels(theirs / "wide.nii.gz")
        np.testing.assert_array_equal(labels(tmp_path / "ours" / task.task.name / "wide.nii.gz"), expected)
        assert len(np.unique(expected)) > 1
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("nnunet_ext.collection")]
    assert len(logged) == (why is not None)
    assert all(line.startswith(f"task nested: nnU-Net's own export is used, because {why}") for line in logged)


def test_who_resamples(untrained, tmp_path, caplog):
    """Told once for each group of tasks, by the plans of their views."""
    trainer = "MultiHeadTrainer"
    change_plans(untrained, trainer, "nested", resampling_fn_data="resample_torch_fornnunet")
    tasks = viewed_tasks(untrained, trainer, "organ", "nested", "slab")
    run = predictor(untrained, trainer, (0,))
    with caplog.at_level(logging.INFO, "nnunet_ext.collection"):
        run.predict_tasks([], tasks, tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "organ, slab: images are resampled by nnunet_ext",
        "nested: images are resampled by nnU-Net, because the plans name resample_torch_fornnunet",
    ]


@pytest.mark.parametrize("threads", [True, False])
def test_a_corrupt_image(untrained, tmp_path, caplog, threads):
    images = untrained / "raw" / "Dataset901_Organ" / "imagesTs"
    file = images / "unseen_000_0000.nii.gz"
    file.write_bytes(file.read_bytes()[:-300])
    run = predictor(untrained, "MultiHeadTrainer", (0,), mirroring=False)
    tasks = viewed_tasks(untrained, "MultiHeadTrainer", "organ", "nested", "coarse")
    with caplog.at_level(logging.ERROR):
        failed = run.predict_tasks(
            list_images(images, ".nii.gz", 1), tasks, tmp_path, read_ahead=threads, write_behind=threads
        )
    assert [(each.name, each.tasks) for each in failed] == [("unseen_000", ("organ", "nested", "coarse"))]
    assert failed[0].problem.startswith(f"{file}: expected an intact image, but it is corrupt")
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"case unseen_000 was not predicted for {names}: {failed[0].problem}" for names in ("organ, nested", "coarse")
    ]
    for task in ("organ", "nested", "coarse"):
        assert [each.name for each in (tmp_path / task).glob("*.gz")] == ["unseen_001.nii.gz"]


def test_a_label_map_that_cannot_be_written(untrained, tmp_path):
    images = untrained / "raw" / "Dataset901_Organ" / "imagesTs"
    (tmp_path / "organ" / "unseen_000.nii.gz").mkdir(parents=True)
    run = predictor(untrained, "MultiHeadTrainer", (0,), mirroring=False)
    tasks = viewed_tasks(untrained, "MultiHeadTrainer", "organ", "nested")
    failed = run.predict_tasks(list_images(images, ".nii.gz", 1), tasks, tmp_path)
    assert [(each.name, each.tasks) for each in failed] == [("unseen_000", ("organ",))]
    assert sorted(each.name for each in (tmp_path / "organ").iterdir()) == [
        "dataset.json", "plans.json", "unseen_000.nii.gz", "unseen_001.nii.gz"
    ]  # fmt: skip
    assert len(list((tmp_path / "nested").glob("*.gz"))) == 2


def test_a_pass_that_fails(untrained, tmp_path):
    """The tasks of other passes are predicted."""
    images = wide_image(tmp_path / "images")
    run = predictor(untrained, "MultiHeadTrainer", (0,), mirroring=False)
    tasks = viewed_tasks(untrained, "MultiHeadTrainer", "organ", "nested", "slab")
    calls = []

    def fail(*_: object) -> None:
        calls.append(1)
        if len(calls) == 3:  # of two windows for each pass
            raise RuntimeError("CUDA error\nand more")

    run.model.network.register_forward_pre_hook(fail)
    failed = run.predict_tasks(list_images(images, ".nii.gz", 1), tasks, tmp_path / "out", heads_at_once=4)
    assert failed == [FailedCase("wide", ("nested",), "CUDA error")]
    assert [len(list((tmp_path / "out" / name).glob("*.gz"))) for name in ("organ", "nested", "slab")] == [1, 0, 1]


@pytest.mark.parametrize("threads", [True, False])
def test_threads(untrained, tmp_path, monkeypatch, threads):
    images = untrained / "raw" / "Dataset901_Organ" / "imagesTs"
    seen: dict[str, set[bool]] = {"read": set(), "write": set()}
    main = threading.get_ident()

    def traced(name, function):
        return lambda *a, **k: seen[name].add(threading.get_ident() == main) or function(*a, **k)

    module = "nnunet_ext.collection.prediction.tasks_predictor"
    monkeypatch.setattr(f"{module}.write_label_map", traced("write", tasks_predictor.write_label_map))
    monkeypatch.setattr(PreparedCase, "from_files", traced("read", PreparedCase.from_files))
    run = predictor(untrained, "MultiHeadTrainer", (0,), mirroring=False)
    tasks = viewed_tasks(untrained, "MultiHeadTrainer", "organ", "coarse")
    run.predict_tasks(list_images(images, ".nii.gz", 1), tasks, tmp_path, read_ahead=threads, write_behind=threads)
    assert seen == {"read": {not threads}, "write": {not threads}}


def test_label_maps_of_one_pass_wait(untrained, tmp_path, monkeypatch):
    """While those of the first are written, the second is made; the third is not begun."""
    images = wide_image(tmp_path / "images")
    third, begun = threading.Event(), []
    write = tasks_predictor.write_label_map

    def slowly(*arguments):
        begun.append(third.wait(1))
        write(*arguments)

    run = predictor(untrained, "MultiHeadTrainer", (0,), mirroring=False)
    calls: list[int] = []
    run.model.network.register_forward_pre_hook(lambda *_: calls.append(1) or (len(calls) == 5 and third.set()) or None)
    monkeypatch.setattr(tasks_predictor, "write_label_map", slowly)
    tasks = viewed_tasks(untrained, "MultiHeadTrainer", "organ", "nested", "slab")
    run.predict_tasks(list_images(images, ".nii.gz", 1), tasks, tmp_path / "out", heads_at_once=4)
    assert len(calls) == 6
    assert begun == [False, True, True]


def test_sums_of_a_patch_depth(untrained, tmp_path, monkeypatch):
    """No more than the patch's depth of all heads at once, and in the number of heads of the pass."""
    images = tmp_path / "images"
    images.mkdir()
    image, _ = phantom_case(np.random.default_rng(0), shape=(40, 32, 40))
    write_nifti(images / "deep_0000.nii.gz", image[0], (2.5, 1.0, 1.0))
    run = predictor(untrained, "MultiHeadTrainer", (0, 1), mirroring=False)
    shapes = []
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *a, **k: shapes.append(a[0]) or zeros(*a, **k))
    tasks = viewed_tasks(untrained, "MultiHeadTrainer", "organ", "nested")
    run.predict_tasks(list_images(images, ".nii.gz", 1), tasks, tmp_path / "out")
    folds, heads, depth = 2, 4 + 3, run.model.configuration.patch_size[0]
    assert depth < 40
    assert [shape for shape in shapes if isinstance(shape, tuple) and len(shape) > 3] == [(folds, heads, depth, 32, 40)]


def test_labels_that_do_not_belong_to_the_network(untrained, tmp_path):
    tasks = viewed_tasks(untrained, "MultiHeadTrainer", "organ")
    labels_of = dict(tasks[0].dataset_json["labels"])
    run = predictor(untrained, "MultiHeadTrainer", (0,))
    for changed, text in (
        (labels_of | {"more": 4}, "expected labels for the 4 heads of the network, found labels for 5. Restore"),
        (labels_of | {"ignore": 9}, "expected labels that nnU-Net accepts, got 'If you use the ignore label"),
    ):
        task = dataclasses.replace(tasks[0], dataset_json=tasks[0].dataset_json | {"labels": changed})
        with pytest.raises(UserError) as caught:
            run.predict_tasks([], [task], tmp_path)
        assert str(caught.value).startswith(f"dataset.json in the view of task 'organ': {text}")


def test_no_gpu(untrained, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="expected a GPU, torch finds none"):
        TasksPredictor(model_folder(untrained, "MultiHeadTrainer"), (0,))
