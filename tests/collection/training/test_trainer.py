"""Steps, statistics, validation, resuming and refusals of collection trainers, on a phantom collection."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.model_sharing.entry_points import export_pretrained_model_entry
from nnunetv2.run.run_training import run_training
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from process_group import process_group
from torch.testing import assert_close

from nnunet_ext import sockets
from nnunet_ext.base.checkpoints import read_checkpoint
from nnunet_ext.cli.main import main
from nnunet_ext.collection.training.task_report import write_task_report
from nnunet_ext.collection.training.trainer import MultiTaskTrainer
from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration
from nnunet_ext.errors import UserError
from nnunet_ext.methods.dodnet.trainer import DoDNetTrainer
from nnunet_ext.methods.multi_head.trainer import MultiHeadTrainer
from nnunet_ext.methods.uniseg.trainer import UniSegTrainer
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.stock.entry_points import run_stock

NAME, PLANS = "Dataset900_Phantoms", "CollectionLitePlans"
TASKS = ["organs", "lesion", "tumour", "lung", "kidney"]
CLASSES = [2, 1, 2, 1, 1]
LOWEST = (".seg_layers.0.", "pre_heads.1.")  # heads of the lower of two scales
CHANNELS = [1, 2, 4, 1, 1]
HEADS = [3, 2, 2, 2, 2]  # tumour has regions


def read_plans(root: Path, dataset: str = NAME, plans: str = PLANS) -> dict[str, Any]:
    return json.loads((root / "preprocessed" / dataset / f"{plans}.json").read_text())


def trainer(
    root: Path,
    kind: type[MultiTaskTrainer] = UniSegTrainer,
    *,
    dataset: str = NAME,
    plans: dict[str, Any] | None = None,
    fold: int = 0,
    continue_training: bool = False,
    configuration: str = "3d_fullres",
) -> MultiTaskTrainer:
    description = json.loads((root / "preprocessed" / dataset / "dataset.json").read_text())
    plans = (plans or read_plans(root, dataset)) | {"continue_training": continue_training}
    return kind(plans, configuration, fold, description, torch.device("cpu"))


@pytest.fixture(params=[UniSegTrainer, MultiHeadTrainer, DoDNetTrainer])
def kind(request) -> type[MultiTaskTrainer]:
    return request.param


def test_a_training_from_beginning_to_the_table(collection, kind):
    run = trainer(collection, kind)
    run.run_training()
    run.perform_actual_validation()
    fold = Path(run.output_folder)
    for file in ("checkpoint_final.pth", "checkpoint_best.pth", "progress.png", "progress_tasks.png"):
        assert (fold / file).is_file(), file
    scores = json.loads((fold / "validation" / "tasks.json").read_text())
    assert {task: len(classes) for task, classes in scores.items()} == dict(zip(TASKS, CLASSES, strict=True))
    for place, task in zip(sorted((collection / "results").glob("Dataset90[1-5]_*")), TASKS, strict=True):
        view = place / f"{kind.__name__}__{PLANS}_{NAME}__3d_fullres" / "fold_0"
        summary = json.loads((view / "validation" / "summary.json").read_text())
        means = {key: values["Dice"] for key, values in summary["mean"].items()}
        assert sorted(means.values()) == sorted(scores[task].values())
        assert (view / "checkpoint_final.pth").read_bytes() == (fold / "checkpoint_final.pth").read_bytes()
        assert not (view / "checkpoint_final.pth").samefile(fold / "checkpoint_final.pth")
    log = next(fold.glob("training_log*")).read_text()
    assert "5 task views have copies of the weights once the training has ended, 0." in log
    table = (fold / "validation" / "tasks.md").read_text()
    assert table.count("\n") == 2 + sum(CLASSES) + 2  # header, classes, two tasks with a mean


def test_each_step_is_the_members_own(collection, kind):
    run = trainer(collection, kind)
    run.initialize()
    run.dataloader_train, run.dataloader_val = run.get_dataloaders()
    run.on_train_epoch_start()
    seen: dict[int, dict[str, Any]] = {}
    for _ in range(run.num_iterations_per_epoch):
        batch = next(run.dataloader_train)
        task = batch["task"]
        assert batch["data"].shape[1] == CHANNELS[task]
        loss_seen = run._losses[task]
        before = run.loss, run.label_manager, run.plans_manager
        with run.on_task(task):
            assert run.loss is loss_seen
            assert run.label_manager.num_segmentation_heads == HEADS[task]
            assert run.label_manager.has_ignore_label == (TASKS[task] == "lung")
            assert run.label_manager.has_regions == (TASKS[task] == "tumour")
            assert f"_{TASKS[task].capitalize()}" in run.preprocessed_dataset_folder
            logits = run.network(batch["data"])
        assert logits[0].shape[1] == HEADS[task]
        assert (run.loss, run.label_manager, run.plans_manager) == before
        output = run.train_step(batch)
        assert math.isfinite(output["loss"])
        seen[task] = output
        for name, parameter in run.network.named_parameters():
            if not any(part in name for part in LOWEST):  # nnU-Net's loss gives the lowest scale weight 0
                assert parameter.grad is not None, name
    assert sorted(seen) == list(range(5))


def test_no_batch_is_drawn_before_the_first_step(collection, monkeypatch):
    """Stock code draws two batches when it makes its loaders, which would be two for each task.

    One case of each task is looked at, whether nnU-Net can write a prediction of it.
    """
    run = trainer(collection)
    run.initialize()
    read = []
    load_case = nnUNetDatasetBlosc2.load_case
    monkeypatch.setattr(nnUNetDatasetBlosc2, "load_case", lambda self, case: read.append(case) or load_case(self, case))
    loaders = []
    for number in range(5):
        with run.on_task(number):
            loaders.append(run.bare_loaders())
    assert len(read) == 5
    assert run.batch_size == 2
    for pair in loaders:
        for loader in pair:
            batch = next(loader)
            assert len(batch["data"]) == len(batch["keys"]) == 2
    assert len(read) == 5 + 2 * 2 * 5


def test_statistics_have_one_length_and_their_places(collection, kind):
    run = trainer(collection, kind)
    run.initialize()
    run.dataloader_train, run.dataloader_val = run.get_dataloaders()
    run.on_validation_epoch_start()
    outputs = []
    for task in range(5):
        batch = next(run.dataloader_val)
        assert batch["task"] == task
        with torch.no_grad():
            output = run.validation_step(batch)
        first = sum(CLASSES[:task])
        for name in ("tp_hard", "fp_hard", "fn_hard"):
            assert output[name].shape == (sum(CLASSES),)
            outside = np.delete(output[name], slice(first, first + CLASSES[task]))
            assert not outside.any()
        counted = output["tp_hard"] + output["fp_hard"] + output["fn_hard"]
        assert counted[first : first + CLASSES[task]].any()
        outputs.append(output)
    log_losses(run)
    run.on_validation_epoch_end(outputs)
    dice = run.logger.get_value("dice_per_class_or_region", -1)
    assert len(dice) == sum(CLASSES)
    absent = [output | {name: 0 * output[name] for name in ("tp_hard", "fp_hard", "fn_hard")} for output in outputs]
    run.current_epoch = 1
    log_losses(run)
    run.on_validation_epoch_end([outputs[0], *absent[1:]])  # four tasks without any voxel
    dice = run.logger.get_value("dice_per_class_or_region", -1)
    assert np.isnan(dice[CLASSES[0] :]).all()
    assert run.logger.get_value("mean_fg_dice", -1) == pytest.approx(np.mean(dice[: CLASSES[0]]))
    run.current_epoch = 2
    log_losses(run)
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        run.on_validation_epoch_end(absent)
    assert math.isfinite(run.logger.get_value("ema_fg_dice", -1))


def log_losses(run: MultiTaskTrainer) -> None:
    """As at the end of a training epoch."""
    run.on_train_epoch_end([{"loss": np.float32(0.5), "task": task} for task in range(4)])


def test_every_task_is_validated_in_every_epoch_even_with_few_steps(collection):
    plans = read_plans(collection)
    plans["nnunet_ext"]["num_val_iterations_per_epoch"] = 2
    assert trainer(collection, plans=plans).num_val_iterations_per_epoch == 5
    del plans["nnunet_ext"]["num_iterations_per_epoch"]
    assert trainer(collection, plans=plans).num_iterations_per_epoch == 250


def test_sampling_weights_rule_the_order(collection):
    plans = read_plans(collection)
    for task, weight in zip(plans["collection"]["tasks"], (1, 1, 1, 1, 6), strict=True):
        task["weight"] = weight
    run = trainer(collection, plans=plans)
    run.initialize()
    train, _ = run.get_dataloaders()
    tasks = [next(train)["task"] for _ in range(10)]
    assert [tasks.count(task) for task in range(5)] == [1, 1, 1, 1, 6]


def test_a_fold_without_validation_case_of_a_task(collection):
    splits = collection / "preprocessed" / "Dataset905_Kidney" / "splits_final.json"
    folds = json.loads(splits.read_text())
    folds[0]["val"] = []
    splits.write_text(json.dumps(folds))
    run = trainer(collection)
    run.run_training()
    run.perform_actual_validation()
    log = next(Path(run.output_folder).glob("training_log*")).read_text()
    assert "WARNING: kidney (Dataset905_Kidney) has no validation case in this fold" in log
    assert "kidney" not in json.loads((Path(run.output_folder) / "validation" / "tasks.json").read_text())


def test_a_fold_without_training_case_of_a_task_is_refused(collection):
    splits = collection / "preprocessed" / "Dataset905_Kidney" / "splits_final.json"
    folds = json.loads(splits.read_text())
    folds[0]["train"] = []
    splits.write_text(json.dumps(folds))
    run = trainer(collection)
    run.initialize()
    with pytest.raises(UserError, match=r"kidney \(Dataset905_Kidney\): expected training cases in fold 0, found none"):
        run.get_dataloaders()


def drawn_cases(pool: Any, batches: int) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for _ in range(batches):
        batch = next(pool)
        found.setdefault(batch["task"], set()).update(map(str, batch["keys"]))
    return found


def test_members_train_and_validate_on_the_cases_of_their_fold(collection):
    run = trainer(collection)
    run.initialize()
    train, val = run.get_dataloaders()
    for pool, key in ((train, "train"), (val, "val")):
        for task, cases in drawn_cases(pool, 10).items():
            folder = next((collection / "preprocessed").glob(f"Dataset90{task + 1}_*"))
            fold = json.loads((folder / "splits_final.json").read_text())[0]
            assert cases
            assert cases <= set(fold[key]), (TASKS[task], key)


def test_ranks_of_one_seed_draw_the_same_tasks_and_other_cases(collection):
    drawn = []
    for rank in (0, 2):
        run = trainer(collection)
        run.initialize()
        with process_group(rank, 4):  # two nodes: both have the local rank 0
            pools = run.get_dataloaders()
        drawn.append([next(pool) for pool in pools for _ in range(3)])
    for mine, theirs in zip(*drawn, strict=True):
        assert mine["task"] == theirs["task"]
        assert not torch.equal(mine["data"], theirs["data"])


def test_a_tasks_logged_loss_is_the_mean_of_its_own_steps(collection):
    run = trainer(collection)
    steps = [(0, 1.0), (1, 10.0), (0, 3.0), (4, -0.5), (0, 8.0)]
    run.on_train_epoch_end([{"loss": np.float32(loss), "task": task} for task, loss in steps])
    found = [run.logger.get_value(f"loss of {task}", -1) for task in TASKS]
    np.testing.assert_array_equal(found, [4.0, 10.0, np.nan, np.nan, -0.5])


def test_of_mixed_batches_a_tasks_logged_loss_is_the_mean_over_the_batches_that_have_it(one_channel):
    run = trainer(one_channel, DoDNetTrainer)
    run.initialize()
    by_task = [[(0, 1.0), (2, 4.0)], [(2, 5.0)], [(0, 3.0), (2, 9.0)]]
    run.on_train_epoch_end([{"loss": np.float32(0.5), "by_task": each} for each in by_task])
    found = [run.logger.get_value(f"loss of {task}", -1) for task in ("organs", "lung", "kidney")]
    np.testing.assert_array_equal(found, [2.0, np.nan, 6.0])


def test_only_the_first_rank_touches_checkpoints_and_views(collection):
    plans = read_plans(collection)
    plans["nnunet_ext"]["multi_dataset"] = {"view_weights": "links"}  # which are renewed at every save
    run = trainer(collection, plans=plans)
    run.on_train_start()
    best = str(Path(run.output_folder) / "checkpoint_best.pth")
    run.save_checkpoint(best)

    def files() -> dict[Path, tuple[int, int]]:
        places = (collection / "results").rglob("*")
        return {place: (place.lstat().st_ino, place.lstat().st_mtime_ns) for place in places if not place.is_dir()}

    view = next((collection / "results").glob("Dataset901_*/*/fold_0/checkpoint_best.pth"))
    view.unlink()
    before = files()
    with process_group(2, 4):  # local rank 0 of the second node
        run.save_checkpoint(best)
    assert files() == before
    run.save_checkpoint(best)
    assert view.is_file()


def test_continuing_goes_on_with_the_next_epochs_order(collection):
    plans = read_plans(collection)
    plans["nnunet_ext"]["num_epochs"] = 2
    run = trainer(collection, plans=plans)
    run.num_epochs = 1
    run.run_training()
    latest = Path(run.output_folder) / "checkpoint_final.pth"
    latest.rename(latest.with_name("checkpoint_latest.pth"))
    again = trainer(collection, plans=plans, continue_training=True)
    again.load_checkpoint(str(latest.with_name("checkpoint_latest.pth")))
    assert again.current_epoch == 1
    train, _ = again.get_dataloaders()
    resumed = [next(train)["task"] for _ in range(10)]
    fresh = trainer(collection, plans=plans)
    fresh.initialize()
    train, _ = fresh.get_dataloaders()
    whole = [next(train)["task"] for _ in range(20)]
    assert resumed == whole[10:] != whole[:10]


def test_a_continued_run_repeats_an_uninterrupted_one(collection):
    plans = read_plans(collection)
    plans["nnunet_ext"] |= {"num_epochs": 2, "num_iterations_per_epoch": 5}
    whole = trainer(collection, plans=plans)
    whole.run_training()
    killed = trainer(collection, plans=plans)
    killed.initialize()
    killed.num_epochs = 1
    killed.run_training()
    again = trainer(collection, plans=plans, continue_training=True)
    again.load_checkpoint(str(Path(killed.output_folder) / "checkpoint_final.pth"))
    assert again.current_epoch == 1
    torch.rand(17)  # another process has other random numbers
    again.run_training()
    for name in ("train_losses", "val_losses"):
        assert again.logger.get_value(name, None) == whole.logger.get_value(name, None)
    mine, theirs = again.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(mine[weight], theirs[weight]) for weight in theirs)


def put_table_into_members(root: Path, table: dict[str, Any]) -> None:
    """As if other tasks had been planned."""
    for task in table["tasks"]:
        file = root / "preprocessed" / task["dataset"] / f"{PLANS}_{NAME}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"collection": table | {"task": task["name"]}}))


def test_more_tasks_on_trained_weights_keep_the_old_tasks(collection, kind):
    """Train three tasks, then start five from that checkpoint."""
    plans = read_plans(collection)
    everything = plans["collection"]
    few = everything | {"tasks": [everything["tasks"][number] for number in (3, 0, 4)]}
    del few["manifest"]
    put_table_into_members(collection, few)
    old = trainer(collection, kind, plans=plans | {"collection": few})
    old.on_train_start()
    old.on_train_epoch_start()
    for _ in range(5):
        old.train_step(next(old.dataloader_train))
    kept = Path(old.output_folder) / "kept.pth"
    old.save_checkpoint(str(kept))
    put_table_into_members(collection, everything)
    plans["nnunet_ext"]["init_from"] = str(kept)
    new = trainer(collection, kind, plans=plans)
    new.on_train_start()
    x = torch.randn(1, 1, *new.configuration_manager.patch_size)
    for before, after in ((0, 3), (1, 0), (2, 4)):
        old.task_network.eval().set_task(before)
        new.task_network.eval().set_task(after)
        with torch.no_grad():
            assert_close(new.network(x)[0], old.network(x)[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match=r"expected a checkpoint of the tasks organs, .* found one of lung, organs"):
        new.check_checkpoint(read_checkpoint(kept), "FILE")


@pytest.mark.parametrize(("rank", "written"), [(0, 5), (2, 0)])
def test_of_two_nodes_with_a_local_rank_0_each_one_writes_the_views(collection, monkeypatch, rank, written):
    monkeypatch.setattr(Ranks, "patient_wait", lambda self: self.wait)  # the other ranks are none
    run = trainer(collection)
    run.initialize()
    stock_json = Path(run.output_folder_base) / "dataset.json"
    stock_json.parent.mkdir(parents=True, exist_ok=True)
    stock_json.write_text(json.dumps(run.dataset_json))  # as stock code does when a training starts
    with process_group(rank, 4):
        run.on_train_end()
    views = (collection / "results").glob("Dataset90[1-5]_*/*/fold_0/checkpoint_final.pth")
    files = [Path(run.output_folder) / "checkpoint_final.pth", *views]
    assert sum(file.exists() for file in files) == written + bool(written)


def test_the_seed_repeats_a_run(collection):
    losses = []
    for _ in range(2):
        run = trainer(collection)
        run.run_training()
        losses.append(run.logger.get_value("train_losses", None))
    assert losses[0] == losses[1]


def test_every_kind_of_labels_may_be_compiled_in_every_mode(collection):
    with torch._dynamo.config.patch(cache_size_limit=8):
        trainer(collection).initialize()
        assert torch._dynamo.config.cache_size_limit == 32  # 3 or 2 classes, 2 regions, 2 classes and ignored voxels


# plans of a task view


def member_plans(root: Path) -> dict[str, Any]:
    return read_plans(root, "Dataset902_Lesion", f"{PLANS}_{NAME}")


def test_training_on_plans_that_name_a_task_is_refused(collection, kind):
    view = trainer(collection, kind, dataset="Dataset902_Lesion", plans=member_plans(collection))
    with pytest.raises(UserError, match=r"name the task 'lesion': training on them would overwrite the weights"):
        view.run_training()


def test_a_views_network_is_bound_to_its_task(collection, kind):
    view = trainer(collection, kind, dataset="Dataset902_Lesion", plans=member_plans(collection))
    view.initialize()
    view.set_deep_supervision_enabled(False)
    view.network.eval()
    assert view.network(torch.randn(1, 2, *view.configuration_manager.patch_size)).shape[1] == 2


# refusals


def test_plans_of_no_collection(collection):
    plans = read_plans(collection)
    del plans["collection"]
    with pytest.raises(UserError, match="UniSegTrainer: expected plans of a collection, got 'CollectionLitePlans'"):
        trainer(collection, plans=plans)


@pytest.mark.parametrize("configuration", ["2d", "3d_cascade_fullres"])
def test_other_configurations(collection, configuration):
    with pytest.raises(UserError, match=f"expected configuration 3d_fullres, got '{configuration}'"):
        trainer(collection, configuration=configuration)


def test_an_edited_manifest(collection):
    manifest = collection / "raw" / NAME / "dataset.json"
    content = json.loads(manifest.read_text())
    content["tasks"]["lesion"]["weight"] = 3
    manifest.write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r"expected the manifest as it was planned, found task 'lesion' with another weight"
    ):
        trainer(collection)
    assert not list((collection / "results").iterdir())
    manifest.unlink()  # training on another machine, without raw data
    trainer(collection)


def test_a_member_that_was_deleted_or_changed_since(collection):
    folder = collection / "preprocessed" / "Dataset903_Tumour"
    plans_file = folder / f"{PLANS}_{NAME}.json"
    plans = plans_file.read_text()
    plans_file.unlink()
    with pytest.raises(
        UserError, match=r"expected the plans of task 'tumour', found no file\. Plan the collection again"
    ):
        trainer(collection)
    plans_file.write_text(plans.replace('"transpose_forward"', '"transpose_forwards"'))
    with pytest.raises(UserError, match="they were planned again since they were preprocessed"):
        trainer(collection)
    plans_file.write_text(plans)
    data = folder / f"{PLANS}_{NAME}_3d_fullres"
    next(data.glob("*.b2nd")).unlink()
    with pytest.raises(UserError, match="found 1 file changed, missing or new"):
        trainer(collection)
    assert not list((collection / "results").iterdir())


def test_plans_that_do_not_belong_together(collection):
    plans = read_plans(collection)
    plans["configurations"]["3d_fullres"]["batch_size"] = 3
    with pytest.raises(UserError, match="expected the collection's batch_size, 3, found 2: one of the two was edited"):
        trainer(collection, plans=plans)
    plans = read_plans(collection)
    plans["collection"]["tasks"][1]["preprocessing"] = "planned otherwise"
    with pytest.raises(UserError, match=r"expected plans of task 'organs' that were planned with the coll"):
        trainer(collection, plans=plans)
    assert not list((collection / "results").iterdir())


def test_a_view_of_other_tasks_does_not_follow(collection):
    plans = read_plans(collection)
    plans["nnunet_ext"]["multi_dataset"] = {"view_weights": "links"}
    run = trainer(collection, plans=plans)
    run.on_train_start()
    run.save_checkpoint(str(Path(run.output_folder) / "checkpoint_best.pth"))
    model = f"UniSegTrainer__{PLANS}_{NAME}__3d_fullres"
    views = [collection / "results" / f"Dataset{name}" / model for name in ("904_Lung", "905_Kidney")]
    for view in views:
        assert (view / "fold_0" / "checkpoint_best.pth").is_file()
    plans = json.loads((views[0] / "plans.json").read_text())
    tasks = plans["collection"]["tasks"]
    tasks[3], tasks[4] = tasks[4], tasks[3]  # the view of a model whose tasks had another order
    (views[0] / "plans.json").write_text(json.dumps(plans))
    run.save_checkpoint(str(Path(run.output_folder) / "checkpoint_best.pth"))
    assert not (views[0] / "fold_0" / "checkpoint_best.pth").is_symlink()
    assert (views[1] / "fold_0" / "checkpoint_best.pth").is_file()


def test_log_and_table_name_classes_that_are_not_in_ascending_order(collection, monkeypatch):
    """``tumour: 2, liver: 1``: nnU-Net's statistics begin with label 1."""
    file = collection / "preprocessed" / "Dataset901_Organs" / "dataset.json"
    description = json.loads(file.read_text())
    description["labels"] = dict(reversed(description["labels"].items()))
    file.write_text(json.dumps(description))
    second, first, _ = description["labels"]
    assert [description["labels"][name] for name in (first, second)] == [1, 2]
    run = trainer(collection)
    run.initialize()
    run.dataloader_train, run.dataloader_val = run.get_dataloaders()
    run.on_validation_epoch_start()
    batch = next(run.dataloader_val)
    assert batch["task"] == 0
    target = batch["target"][0] if isinstance(batch["target"], list) else batch["target"]
    only_first = torch.nn.functional.one_hot((target[:, 0] == 1).long(), 3).movedim(-1, 1).float()
    monkeypatch.setattr(run, "on_task", lambda number, real=run.on_task: predicting(run, real(number), only_first))
    output = run.validation_step(batch)
    log_losses(run)
    run.on_validation_epoch_end([output])
    (line,) = [line for line in run.task_logger.lines() if line.startswith("organs")]
    assert line.endswith(f"pseudo dice {first} 1.0000, {second} 0.0000")

    summary = {
        "metric_per_case": [{}],
        "mean": {"1": {"Dice": 0.9}, "2": {"Dice": 0.2}},
        "foreground_mean": {"Dice": 0.55},
    }
    (collection / "summary.json").write_text(json.dumps(summary))
    table = write_task_report(collection / "table", {"organs": collection}, {"organs": run.members[0].classes})
    assert [line.split(" | ")[1::2] for line in table.splitlines()[2:4]] == [[first, "0.9000 |"], [second, "0.2000 |"]]


@contextlib.contextmanager
def predicting(run: MultiTaskTrainer, on_task: Any, logits: torch.Tensor) -> Iterator[Any]:
    """In the step of a task the network's output is given, at every scale."""
    with on_task as member, pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "network", lambda data: [logits] * 2 if run.enable_deep_supervision else logits)
        patch.setattr(run, "loss", lambda output, target: torch.zeros(1))
        yield member


def plan_again(root: Path, **changes: Any) -> None:
    """As ``plan_and_preprocess`` does, where the data stay as they are."""
    members = (root / "preprocessed").glob(f"Dataset90*/{PLANS}_{NAME}.json")
    for file in [root / "preprocessed" / NAME / f"{PLANS}.json", *members]:
        content = json.loads(file.read_text())
        content["configurations"]["3d_fullres"] |= changes
        file.write_text(json.dumps(content))


def validate(root: Path, dataset: str, plans: str) -> None:
    """``nnUNetv2_train ... --val``."""
    options = {"only_run_validation": True, "device": torch.device("cpu")}
    run_training(dataset[7:10], "3d_fullres", 0, "MultiHeadTrainer", plans, **options)


def configurations_of_predictors(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The configurations that validations hand to their predictors and exports from now on."""
    handed, initialize = [], nnUNetPredictor.manual_initialization

    def noted(predictor: nnUNetPredictor, network: Any, plans: Any, configuration: Any, *rest: Any) -> None:
        handed.append(configuration)
        initialize(predictor, network, plans, configuration, *rest)

    monkeypatch.setattr(nnUNetPredictor, "manual_initialization", noted)
    return handed


def test_planning_again_spoils_neither_a_running_training_nor_a_trained_model(collection, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", str(sockets.folder("trainers")))
    run = trainer(collection, MultiHeadTrainer)
    end_of_epoch = run.on_epoch_end
    model = f"MultiHeadTrainer__{PLANS}_{NAME}__3d_fullres"
    lesion = collection / "results" / "Dataset902_Lesion" / model

    def plan_meanwhile() -> None:
        assert json.loads((lesion / "plans.json").read_text())["collection"]["task"] == "lesion"
        assert not list(lesion.rglob("*.pth"))
        plan_again(collection, patch_size=[8, 16, 16], batch_size=7)
        end_of_epoch()

    monkeypatch.setattr(run, "on_epoch_end", plan_meanwhile)
    run.run_training()
    handed = configurations_of_predictors(monkeypatch)
    run.perform_actual_validation()
    report = Path(run.output_folder) / "validation" / "tasks.json"
    scores = json.loads(report.read_text())
    assert list(scores) == TASKS
    described = (lesion / "plans.json").read_bytes()
    assert json.loads(described)["configurations"]["3d_fullres"]["batch_size"] == 2
    assert (lesion / "fold_0" / "checkpoint_final.pth").is_file()

    report.unlink()
    validate(collection, NAME, PLANS)
    assert json.loads(report.read_text()) == scores
    summary = lesion / "fold_0" / "validation" / "summary.json"
    before = json.loads(summary.read_text())["mean"]
    summary.unlink()
    validate(collection, "Dataset902_Lesion", f"{PLANS}_{NAME}")  # the view itself
    assert json.loads(summary.read_text())["mean"] == before
    assert [type(configuration) for configuration in handed] == [FastConfiguration] * (2 * len(TASKS) + 1)
    words = ["-d", "900", "-tr", "MultiHeadTrainer", "-p", PLANS, "-c", "3d_fullres", "-f", "0", "-o", "all.zip"]
    monkeypatch.chdir(collection)
    run_stock("nnUNetv2_export_model_to_zip", export_pretrained_model_entry, words)
    shutil.rmtree(lesion / "fold_0")
    assert main(["task_views", "-d", "900", "-tr", "MultiHeadTrainer", "-p", PLANS]) == 0
    assert (lesion / "plans.json").read_bytes() == described
    assert (lesion / "fold_0" / "checkpoint_final.pth").is_file()

    (collection / "preprocessed" / "Dataset905_Kidney" / f"{PLANS}_{NAME}.json").unlink()  # interrupted planning
    report.unlink()
    validate(collection, NAME, PLANS)
    assert json.loads(report.read_text()) == scores
    with pytest.raises(UserError, match=r"expected the plans of task 'kidney', found no file"):
        trainer(collection, MultiHeadTrainer).run_training()
    again = trainer(collection, MultiHeadTrainer, continue_training=True)
    with pytest.raises(UserError, match=r"expected the plans of task 'kidney', found no file"):
        again.load_checkpoint(str(Path(run.output_folder) / "checkpoint_final.pth"))

    marker = collection / "preprocessed" / "Dataset905_Kidney" / f"{PLANS}_{NAME}_3d_fullres.complete.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"plans": "of other plans"}))
    with pytest.raises(UserError, match=r"they were planned again since they were preprocessed"):
        validate(collection, NAME, PLANS)


@pytest.mark.parametrize("swapped", ["names", "regions"])
def test_labels_that_were_swapped_since_planning(collection, swapped):
    name = {"names": "Dataset901_Organs", "regions": "Dataset903_Tumour"}[swapped]
    file = collection / "raw" / name / "dataset.json"
    description = json.loads(file.read_text())
    labels = description["labels"]
    first, second = [key for key in labels if key != "background"][:2]
    if swapped == "names":
        labels[first], labels[second] = labels[second], labels[first]
    else:
        description["labels"] = {"background": 0, second: labels[second], first: labels[first]}
    file.write_text(json.dumps(description))
    with pytest.raises(
        UserError, match=rf"^{file}: expected the labels that the collection was planned with, .*found "
    ):
        trainer(collection)
    assert not list((collection / "results").iterdir())


def test_a_member_that_says_since_planning_that_not_all_was_annotated(collection):
    file = collection / "raw" / "Dataset901_Organs" / "dataset.json"
    description = json.loads(file.read_text())
    drawn, missing = [key for key in description["labels"] if key != "background"]
    file.write_text(json.dumps(description | {"annotated": {"case_001": [drawn, missing], "case_002": [drawn]}}))
    with pytest.raises(
        UserError, match=rf"found case 'case_002' of Dataset901_Organs not annotated for {missing}\. Let"
    ):
        trainer(collection)
