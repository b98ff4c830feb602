"""Task views: what is in them, how their links follow the collection, what they cost on disk."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.evaluation.find_best_configuration import find_best_configuration_entry_point
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from nnunetv2.model_sharing.entry_points import export_pretrained_model_entry, install_from_zip_entry_point
from nnunetv2.run.run_training import run_training
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext import sockets
from nnunet_ext.cli.stock import run_stock
from nnunet_ext.errors import UserError
from nnunet_ext.multi_dataset.task_table import Task, TaskTable
from nnunet_ext.multi_dataset.task_views import renew_links, view_folder, write_views
from nnunet_ext.uniseg import UniSegTrainer

SIZE = 1_000_000
TRAINER, CONFIGURATION = "UniSegTrainer", "3d_fullres"


@pytest.fixture
def plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Plans of a collection with eleven members, and a fold of it with checkpoints."""
    for name in ("preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    tasks = tuple(Task(f"task{n}", f"Dataset{n:03d}_T{n}", 1, 2, 10) for n in range(1, 12))
    table = TaskTable("Dataset900_All", tasks)
    configuration = {"patch_size": [8, 8, 8], "architecture": {"n": 1}, "spacing": [1, 1, 1]}
    plans = {"plans_name": "P", "dataset_name": "Dataset900_All", "configurations": {CONFIGURATION: configuration}}
    for task in tasks:
        folder = tmp_path / "preprocessed" / task.dataset
        folder.mkdir(parents=True)
        block = {"collection": table.bound_to(task.name).as_json()}
        (folder / "P_Dataset900_All.json").write_text(json.dumps(plans | block))
        (folder / "dataset.json").write_text(json.dumps({"labels": {task.name: 1}}))
        (folder / "dataset_fingerprint.json").write_text("{}")
    fold = fold_of(tmp_path)
    fold.mkdir(parents=True)
    for name in ("checkpoint_final.pth", "checkpoint_best.pth"):
        (fold / name).write_bytes(os.urandom(SIZE))
    (fold / "progress.png").write_bytes(b"curve")
    return plans | {"collection": table.as_json()}


def fold_of(root: Path) -> Path:
    return root / "results" / "Dataset900_All" / "UniSegTrainer__P__3d_fullres" / "fold_0"


def disk_use(folder: Path) -> int:
    """Bytes of the files in a folder, each inode once, links not followed."""
    found = [path.lstat() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
    return sum({(stat.st_dev, stat.st_ino): stat.st_size for stat in found}.values())


def no_symlinks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)


def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("operation not supported")

    no_symlinks(monkeypatch)
    monkeypatch.setattr(os, "link", refuse)


def all_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is refused."""


def test_view_folder():
    task = Task("liver", "Dataset003_Liver", 1, 3, 131)
    expected = Path("/r/Dataset003_Liver/UniSegTrainer__UniSegPlans_Dataset900_MOTS__3d_fullres")
    assert view_folder(Path("/r"), task, "Dataset900_MOTS", TRAINER, "UniSegPlans", CONFIGURATION) == expected


def test_each_view_has_its_members_files(plans, tmp_path):
    views = write_views(plans, TRAINER, CONFIGURATION, 0)
    assert [view.parent.name for view in views] == [f"Dataset{n:03d}_T{n}" for n in range(1, 12)]
    for number, view in enumerate(views, start=1):
        bound = json.loads((view / "plans.json").read_text())["collection"]["task"]
        assert bound == f"task{number}"
        assert json.loads((view / "dataset.json").read_text()) == {"labels": {bound: 1}}
        assert (view / "dataset_fingerprint.json").read_text() == "{}"
        names = {path.name for path in (view / "fold_0").iterdir()}
        assert names == {"checkpoint_final.pth", "checkpoint_best.pth", "progress.png"}
        link = os.readlink(view / "fold_0" / "checkpoint_final.pth")
        assert link == "../../../Dataset900_All/UniSegTrainer__P__3d_fullres/fold_0/checkpoint_final.pth"
    moved = (tmp_path / "results").rename(tmp_path / "elsewhere")
    original = moved / fold_of(tmp_path).relative_to(tmp_path / "results") / "checkpoint_final.pth"
    copy = moved / views[4].relative_to(tmp_path / "results") / "fold_0" / "checkpoint_final.pth"
    assert copy.read_bytes() == original.read_bytes()


@pytest.mark.parametrize("forbid", [all_links, no_symlinks])
def test_eleven_tasks_cost_one_checkpoint(plans, tmp_path, monkeypatch, forbid):
    forbid(monkeypatch)
    before = disk_use(tmp_path / "results")
    assert before == 2 * SIZE + len(b"curve")
    views = write_views(plans, TRAINER, CONFIGURATION, 0)
    for view in views:
        assert (view / "fold_0" / "checkpoint_best.pth").samefile(fold_of(tmp_path) / "checkpoint_best.pth")
    assert disk_use(tmp_path / "results") - before < 0.1 * SIZE  # plans, descriptions, links


def test_without_links_views_hold_copies(plans, tmp_path, monkeypatch):
    no_links(monkeypatch)
    before = disk_use(tmp_path / "results")
    view = write_views(plans, TRAINER, CONFIGURATION, 0)[0]
    copy, original = view / "fold_0" / "checkpoint_final.pth", fold_of(tmp_path) / "checkpoint_final.pth"
    assert copy.read_bytes() == original.read_bytes()
    assert not copy.samefile(original)
    assert disk_use(tmp_path / "results") - before > 22 * SIZE


@pytest.mark.parametrize("forbid", [all_links, no_symlinks, no_links])
def test_views_follow_every_save(plans, tmp_path, monkeypatch, forbid):
    forbid(monkeypatch)
    write_views(plans, TRAINER, CONFIGURATION, 0)
    fold = fold_of(tmp_path)
    (fold / "partial").write_bytes(b"newer")
    (fold / "partial").replace(fold / "checkpoint_best.pth")  # as checkpoints are saved
    (fold / "checkpoint_latest.pth").write_bytes(b"latest")
    renew_links(plans, TRAINER, CONFIGURATION, 0)
    views = sorted((tmp_path / "results").glob("Dataset0*/*/fold_0"))
    assert len(views) == 11
    for view in views:
        assert (view / "checkpoint_best.pth").read_bytes() == b"newer"
        assert (view / "checkpoint_latest.pth").read_bytes() == b"latest"
        assert not list(view.glob("*.partial"))
    (fold / "checkpoint_latest.pth").unlink()  # as at the end of a training
    renew_links(plans, TRAINER, CONFIGURATION, 0)
    assert not any(os.path.lexists(view / "checkpoint_latest.pth") for view in views)


def test_what_is_there_is_not_written_again(plans, tmp_path, monkeypatch):
    no_links(monkeypatch)
    view = write_views(plans, TRAINER, CONFIGURATION, 0)[0]
    inode = (view / "fold_0" / "checkpoint_final.pth").stat().st_ino
    renew_links(plans, TRAINER, CONFIGURATION, 0)
    assert (view / "fold_0" / "checkpoint_final.pth").stat().st_ino == inode


def test_renewing_makes_no_view(plans, tmp_path):
    renew_links(plans, TRAINER, CONFIGURATION, 0)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["Dataset900_All"]


def test_a_checkpoint_that_is_gone(plans, tmp_path, monkeypatch):
    """A dangling link goes; a copy of its own stays: it may be the last."""
    views = write_views(plans, TRAINER, CONFIGURATION, 0)
    own = views[3] / "fold_0" / "checkpoint_final.pth"
    own.unlink()
    shutil.copy(fold_of(tmp_path) / "checkpoint_final.pth", own)
    (fold_of(tmp_path) / "checkpoint_final.pth").unlink()
    renew_links(plans, TRAINER, CONFIGURATION, 0)
    assert own.stat().st_size == SIZE
    assert not os.path.lexists(views[0] / "fold_0" / "checkpoint_final.pth")


def test_a_data_set_folder_that_is_a_link_itself(plans, tmp_path):
    (tmp_path / "other disk" / "deep" / "down").mkdir(parents=True)
    (tmp_path / "results" / "Dataset001_T1").symlink_to(tmp_path / "other disk" / "deep" / "down")
    view = write_views(plans, TRAINER, CONFIGURATION, 0)[0]
    link = view / "fold_0" / "checkpoint_best.pth"
    assert link.is_symlink()
    assert link.samefile(fold_of(tmp_path) / "checkpoint_best.pth")


def test_a_member_that_was_planned_again(plans, tmp_path):
    file = tmp_path / "preprocessed" / "Dataset007_T7" / "P_Dataset900_All.json"
    member = json.loads(file.read_text())
    member["configurations"][CONFIGURATION]["patch_size"] = [16, 8, 8]
    file.write_text(json.dumps(member))
    with pytest.raises(UserError, match=r"expected the plans of task 'task7' that the model was trained with, found "):
        write_views(plans, TRAINER, CONFIGURATION, 0)
    assert not (tmp_path / "results" / "Dataset001_T1").exists()


def test_a_member_without_plans(plans, tmp_path):
    (tmp_path / "preprocessed" / "Dataset002_T2" / "P_Dataset900_All.json").unlink()
    with pytest.raises(UserError, match=r"P_Dataset900_All.json: expected it for the view of task 'task2', found no "):
        write_views(plans, TRAINER, CONFIGURATION, 0)


def test_member_plans_have_no_views(plans):
    member = plans | {"collection": plans["collection"] | {"task": "task1"}}
    with pytest.raises(UserError, match="expected plans of a collection, got others"):
        write_views(member, TRAINER, CONFIGURATION, 0)


def test_no_room(plans, tmp_path, monkeypatch):
    no_links(monkeypatch)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UserError, match=r"expected to write a file of a task view, got .*No space left on device"):
        write_views(plans, TRAINER, CONFIGURATION, 0)


PLANS = "CollectionLitePlans"
MEMBER, MEMBER_PLANS = "Dataset903_Tumour", f"{PLANS}_Dataset900_Phantoms"  # four channels, regions


def train(trainer: type[nnUNetTrainer], root: Path, dataset: str, plans_name: str) -> None:
    """Train and validate fold 0 for a few steps, with the probabilities that model selection needs."""
    folder = root / "preprocessed" / dataset
    plans = json.loads((folder / f"{plans_name}.json").read_text()) | {"continue_training": False}
    description = json.loads((folder / "dataset.json").read_text())
    run = trainer(plans, CONFIGURATION, 0, description, torch.device("cpu"))
    run.num_epochs, run.num_iterations_per_epoch, run.num_val_iterations_per_epoch = 1, 10, 5
    run.run_training()
    run.perform_actual_validation(save_probabilities=True)


def predict(images: Path, output: Path) -> dict[str, np.ndarray]:
    words = ["-d", "903", "-tr", TRAINER, "-p", MEMBER_PLANS, "-c", CONFIGURATION, "-f", "0", "-device", "cpu"]
    words += ["-i", str(images), "-o", str(output), "-npp", "0", "-nps", "0", "--disable_progress_bar"]
    run_stock("nnUNetv2_predict", predict_entry_point, words)
    return {file.name: np.asarray(nibabel.load(file).dataobj) for file in output.glob("*.nii.gz")}


@pytest.mark.slow
def test_a_view_is_an_ordinary_model(collection, tmp_path, monkeypatch):
    """``--val``, find_best_configuration against nnUNetTrainer on the same plans, a zip for another machine."""
    monkeypatch.setenv(sockets.VARIABLE, str(sockets.folder("trainers")))
    train(UniSegTrainer, collection, "Dataset900_Phantoms", PLANS)
    view = collection / "results" / MEMBER / f"{TRAINER}__{MEMBER_PLANS}__{CONFIGURATION}"
    summary = view / "fold_0" / "validation" / "summary.json"
    dice = json.loads(summary.read_text())["mean"]
    summary.unlink()
    options = {"plans_identifier": MEMBER_PLANS, "only_run_validation": True, "export_validation_probabilities": True}
    run_training("903", CONFIGURATION, 0, TRAINER, device=torch.device("cpu"), **options)
    assert json.loads(summary.read_text())["mean"] == dice
    assert (view / "fold_0" / "checkpoint_final.pth").is_symlink()

    train(nnUNetTrainer, collection, MEMBER, MEMBER_PLANS)
    words = [MEMBER, "-p", MEMBER_PLANS, "-c", CONFIGURATION, "-tr", TRAINER, "nnUNetTrainer", "-f", "0", "-np", "1"]
    run_stock("nnUNetv2_find_best_configuration", find_best_configuration_entry_point, words)
    results = json.loads((collection / "results" / MEMBER / "inference_information.json").read_text())["all_results"]
    assert len(results) == 3  # both and their ensemble
    assert all(math.isfinite(value) for value in results.values())

    images = collection / "raw" / MEMBER / "imagesTs"
    before = predict(images, tmp_path / "before")
    archive = tmp_path / "view.zip"
    words = ["-d", "903", "-o", str(archive), "-c", CONFIGURATION, "-tr", TRAINER, "-p", MEMBER_PLANS, "-f", "0"]
    run_stock("nnUNetv2_export_model_to_zip", export_pretrained_model_entry, words)
    (tmp_path / "another machine").mkdir()
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "another machine"))
    monkeypatch.delenv("nnUNet_preprocessed")
    monkeypatch.delenv("nnUNet_raw")
    shutil.rmtree(collection / "results")
    run_stock("nnUNetv2_install_pretrained_model_from_zip", install_from_zip_entry_point, [str(archive)])
    after = predict(images, tmp_path / "after")
    assert before.keys() == after.keys() == {"unseen_000.nii.gz"}
    for name, labels in before.items():
        np.testing.assert_array_equal(after[name], labels)
        assert len(np.unique(labels)) > 1
