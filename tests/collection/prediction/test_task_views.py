"""Task views: what is in them, how their weights follow the collection, what they cost, and that each is its own."""

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
from nnunetv2.model_sharing.model_export import export_pretrained_model
from nnunetv2.model_sharing.model_import import install_model_from_zip_file
from nnunetv2.run.run_training import run_training
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext import sockets
from nnunet_ext.collection.prediction import view_weights
from nnunet_ext.collection.prediction.member_files import MemberFiles
from nnunet_ext.collection.prediction.task_views import renew_weights, view_folder, write_views
from nnunet_ext.collection.task_table import Task, TaskTable
from nnunet_ext.data.preprocessed.data_hash import preprocessing_hash
from nnunet_ext.errors import UserError
from nnunet_ext.methods.uniseg.trainer import UniSegTrainer
from nnunet_ext.stock.entry_points import run_stock

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
    (fold.parent / "dataset.json").write_text("{}")
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


def linked(plans: dict[str, Any]) -> dict[str, Any]:
    return plans | {"nnunet_ext": {"multi_dataset": {"view_weights": "links"}}}


def with_clones(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Btrfs or XFS; a copy is a clone but for its disk blocks."""
    monkeypatch.setattr(view_weights, "clone", shutil.copy2)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_each_view_has_its_members_files_and_weights_of_its_own(plans, tmp_path):
    views = write_views(plans, TRAINER, CONFIGURATION, 0)
    assert [view.parent.name for view in views] == [f"Dataset{n:03d}_T{n}" for n in range(1, 12)]
    original = fold_of(tmp_path) / "checkpoint_final.pth"
    for number, view in enumerate(views, start=1):
        bound = json.loads((view / "plans.json").read_text())["collection"]["task"]
        assert bound == f"task{number}"
        assert json.loads((view / "dataset.json").read_text()) == {"labels": {bound: 1}}
        assert json.loads((view / "dataset_fingerprint.json").read_text()) == {}
        names = {path.name for path in (view / "fold_0").iterdir()}
        assert names == {"checkpoint_final.pth", "checkpoint_best.pth", "progress.png"}
        own = view / "fold_0" / "checkpoint_final.pth"
        assert own.read_bytes() == original.read_bytes()
        assert not own.is_symlink()
        assert own.stat().st_nlink == 1


def test_links_are_relative(plans, tmp_path):
    views = write_views(linked(plans), TRAINER, CONFIGURATION, 0)
    for view in views:
        link = os.readlink(view / "fold_0" / "checkpoint_final.pth")
        assert link == "../../../Dataset900_All/UniSegTrainer__P__3d_fullres/fold_0/checkpoint_final.pth"
    moved = (tmp_path / "results").rename(tmp_path / "elsewhere")
    original = moved / fold_of(tmp_path).relative_to(tmp_path / "results") / "checkpoint_final.pth"
    copy = moved / views[4].relative_to(tmp_path / "results") / "fold_0" / "checkpoint_final.pth"
    assert copy.read_bytes() == original.read_bytes()


@pytest.mark.parametrize("forbid", [all_links, no_symlinks])
def test_eleven_tasks_with_links_cost_one_checkpoint(plans, tmp_path, monkeypatch, forbid):
    forbid(monkeypatch)
    before = disk_use(tmp_path / "results")
    assert before == 2 * SIZE + len(b"curve") + len("{}")
    views = write_views(linked(plans), TRAINER, CONFIGURATION, 0)
    for view in views:
        assert (view / "fold_0" / "checkpoint_best.pth").samefile(fold_of(tmp_path) / "checkpoint_best.pth")
    assert disk_use(tmp_path / "results") - before < 0.1 * SIZE  # plans, descriptions, links


def test_where_there_are_no_links_views_hold_copies(plans, tmp_path, monkeypatch):
    no_links(monkeypatch)
    before = disk_use(tmp_path / "results")
    view = write_views(linked(plans), TRAINER, CONFIGURATION, 0)[0]
    copy, original = view / "fold_0" / "checkpoint_final.pth", fold_of(tmp_path) / "checkpoint_final.pth"
    assert copy.read_bytes() == original.read_bytes()
    assert not copy.samefile(original)
    assert disk_use(tmp_path / "results") - before > 22 * SIZE


@pytest.mark.parametrize("forbid", [all_links, no_symlinks, no_links, with_clones])
def test_views_follow_every_save(plans, tmp_path, monkeypatch, forbid):
    forbid(monkeypatch)
    plans = plans if forbid is with_clones else linked(plans)
    write_views(plans, TRAINER, CONFIGURATION, 0)
    fold = fold_of(tmp_path)
    save(fold, "checkpoint_best.pth", b"newer")
    save(fold, "checkpoint_latest.pth", b"latest")
    renew_weights(plans, TRAINER, CONFIGURATION, 0)
    views = sorted((tmp_path / "results").glob("Dataset0*/*/fold_0"))
    assert len(views) == 11
    for view in views:
        assert (view / "checkpoint_best.pth").read_bytes() == b"newer"
        assert (view / "checkpoint_latest.pth").read_bytes() == b"latest"
        assert not list(view.glob("*.partial"))
    (fold / "checkpoint_latest.pth").unlink()  # as at the end of a training
    renew_weights(plans, TRAINER, CONFIGURATION, 0)
    assert not any(os.path.lexists(view / "checkpoint_latest.pth") for view in views)


def save(fold: Path, name: str, weights: bytes) -> None:
    """As checkpoints are saved."""
    (fold / "partial").write_bytes(weights)
    (fold / "partial").replace(fold / name)


def test_without_clones_views_get_their_weights_at_the_end(plans, tmp_path):
    fold = fold_of(tmp_path)
    members = [MemberFiles.planned(plans, task) for task in TaskTable.read(plans).tasks]
    views = write_views(plans, TRAINER, CONFIGURATION, 0, members, finished=False)
    save(fold, "checkpoint_best.pth", b"newer")
    renew_weights(plans, TRAINER, CONFIGURATION, 0)
    for view in views:
        assert json.loads((view / "plans.json").read_text())["collection"]["task"]
        assert [path.name for path in (view / "fold_0").iterdir()] == ["progress.png"]
    write_views(plans, TRAINER, CONFIGURATION, 0, members)
    for view in views:
        assert (view / "fold_0" / "checkpoint_best.pth").read_bytes() == b"newer"
        assert (view / "fold_0" / "checkpoint_final.pth").stat().st_size == SIZE


def test_the_cost_on_disk_is_told(plans, tmp_path, monkeypatch):
    sizes = [2_000_000_000, 1_000_000_000]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, 40_000_000_000))
    told = view_weights.disk_cost(sizes, 11, "own", tmp_path)
    assert told.startswith("11 task views have copies of the weights once the training has ended, 33.00 GB in all; ")
    assert "WARNING" not in told
    assert view_weights.disk_cost(sizes, 14, "own", tmp_path).endswith(" WARNING: 40.00 GB are free.")
    assert "(knob multi_dataset.view_weights)." in view_weights.disk_cost(sizes, 11, "links", tmp_path)
    with_clones(monkeypatch)
    assert "share the collection's disk blocks" in view_weights.disk_cost(sizes, 11, "own", tmp_path)


@pytest.mark.parametrize("how", [lambda plans: plans, linked])
def test_what_is_there_is_not_written_again(plans, tmp_path, monkeypatch, how):
    no_links(monkeypatch)
    view = write_views(how(plans), TRAINER, CONFIGURATION, 0)[0]
    inode = (view / "fold_0" / "checkpoint_final.pth").stat().st_ino
    renew_weights(how(plans), TRAINER, CONFIGURATION, 0)
    write_views(how(plans), TRAINER, CONFIGURATION, 0)
    assert (view / "fold_0" / "checkpoint_final.pth").stat().st_ino == inode


@pytest.mark.parametrize("forbid", [all_links, no_symlinks])
def test_links_of_an_earlier_version_become_files(plans, tmp_path, monkeypatch, forbid):
    """Both kinds lead an import into the collection; while a training runs they go."""
    with pytest.MonkeyPatch.context() as patch:
        forbid(patch)
        write_views(linked(plans), TRAINER, CONFIGURATION, 0)
    view = write_views(plans, TRAINER, CONFIGURATION, 0, finished=False)[0] / "fold_0"
    assert [path.name for path in view.iterdir()] == ["progress.png"]
    original = fold_of(tmp_path) / "checkpoint_best.pth"
    write_views(plans, TRAINER, CONFIGURATION, 0)
    assert not (view / "checkpoint_best.pth").samefile(original)
    assert (view / "checkpoint_best.pth").read_bytes() == original.read_bytes()


# what is done to one view leaves the others and the collection as they are


@pytest.fixture
def zipped(plans, tmp_path) -> Path:
    """A zip that nnU-Net exported of the first view, before all weights were trained further."""
    view = write_views(plans, TRAINER, CONFIGURATION, 0)[0]
    (view / "fold_0" / "validation").mkdir()
    (view / "fold_0" / "validation" / "summary.json").write_text("{}")
    (view / "fold_0" / "progress.png").write_bytes(b"curve")
    chk = ("checkpoint_final.pth", "checkpoint_best.pth")
    archive = tmp_path / "old.zip"
    export_pretrained_model(
        "Dataset001_T1", str(archive), (CONFIGURATION,), TRAINER, view.name.split("__")[1], (0,), True, chk
    )
    for name in chk:
        save(fold_of(tmp_path), name, b"trained further, " + name.encode())
    return archive


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("forbid", [all_links, with_clones])
def test_importing_an_old_zip_of_one_view_changes_no_other(plans, tmp_path, monkeypatch, zipped, running, forbid):
    forbid(monkeypatch)
    views = write_views(plans, TRAINER, CONFIGURATION, 0, finished=not running)
    if running:
        renew_weights(plans, TRAINER, CONFIGURATION, 0)
    others = [fold_of(tmp_path).parent, *views[1:]]
    before = [content(folder) for folder in others]
    install_model_from_zip_file(str(zipped))
    assert (views[0] / "fold_0" / "checkpoint_final.pth").stat().st_size == SIZE
    assert [content(folder) for folder in others] == before
    assert before[0]["fold_0/checkpoint_final.pth"] == b"trained further, checkpoint_final.pth"
    write_views(plans, TRAINER, CONFIGURATION, 0)  # task_views: the collection's weights again
    assert (views[0] / "fold_0" / "checkpoint_final.pth").read_bytes() == b"trained further, checkpoint_final.pth"


def test_deleting_a_view_or_the_collection(plans, tmp_path):
    views = write_views(plans, TRAINER, CONFIGURATION, 0)
    before = [content(view) for view in views]
    collection = content(fold_of(tmp_path))
    shutil.rmtree(views[0].parent)
    assert content(fold_of(tmp_path)) == collection
    shutil.rmtree(tmp_path / "results" / "Dataset900_All")
    assert [content(view) for view in views[1:]] == before[1:]


@pytest.mark.parametrize("links", [True, False])
def test_copying_or_moving_one_view_alone(plans, tmp_path, links):
    """rsync, with links as links or as files, or mv, of what looks like any model folder."""
    view = write_views(plans, TRAINER, CONFIGURATION, 0)[2]
    before = content(view)
    copy = Path(shutil.copytree(view, tmp_path / "copy", symlinks=links))
    (tmp_path / "results").rename(tmp_path / "gone")
    assert content(copy) == before
    assert (
        content(Path(shutil.move(tmp_path / "gone" / view.relative_to(tmp_path / "results"), tmp_path / "moved")))
        == before
    )


def test_results_that_cannot_be_written(plans, tmp_path, monkeypatch):
    views = write_views(plans, TRAINER, CONFIGURATION, 0)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copy2", refuse)
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(UserError, match=r"expected to make the folder of a task view, got .*Read-only file system"):
            write_views(plans, TRAINER, CONFIGURATION, 0)
    before = content(tmp_path / "results")
    for place in (tmp_path / "results").rglob("*"):
        place.chmod(0o555 if place.is_dir() else 0o444)
    assert MemberFiles.viewed(views[0]).fit(plans, TaskTable.read(plans).tasks[0], CONFIGURATION)
    assert content(tmp_path / "results") == before


def test_renewing_makes_no_view(plans, tmp_path):
    renew_weights(plans, TRAINER, CONFIGURATION, 0)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["Dataset900_All"]


def test_a_checkpoint_that_is_gone(plans, tmp_path, monkeypatch):
    """A dangling link goes; a copy of its own stays: it may be the last."""
    plans = linked(plans)
    views = write_views(plans, TRAINER, CONFIGURATION, 0)
    own = views[3] / "fold_0" / "checkpoint_final.pth"
    own.unlink()
    shutil.copy(fold_of(tmp_path) / "checkpoint_final.pth", own)
    (fold_of(tmp_path) / "checkpoint_final.pth").unlink()
    renew_weights(plans, TRAINER, CONFIGURATION, 0)
    assert own.stat().st_size == SIZE
    assert not os.path.lexists(views[0] / "fold_0" / "checkpoint_final.pth")


def test_a_data_set_folder_that_is_a_link_itself(plans, tmp_path):
    (tmp_path / "other disk" / "deep" / "down").mkdir(parents=True)
    (tmp_path / "results" / "Dataset001_T1").symlink_to(tmp_path / "other disk" / "deep" / "down")
    view = write_views(linked(plans), TRAINER, CONFIGURATION, 0)[0]
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
    with pytest.raises(UserError, match=r"P_Dataset900_All.json: expected the plans of task 'task2', found no file"):
        write_views(plans, TRAINER, CONFIGURATION, 0)


def test_planned_again_the_view_tells_what_was_trained(plans, tmp_path):
    views = write_views(plans, TRAINER, CONFIGURATION, 0)
    before = [content(view) for view in views]
    for file in (tmp_path / "preprocessed").rglob("P_*.json"):
        member = json.loads(file.read_text())
        member["configurations"][CONFIGURATION]["patch_size"] = [16, 8, 8]
        file.write_text(json.dumps(member))
        (file.parent / "dataset.json").write_text(json.dumps({"labels": {"another": 1}}))
    shutil.rmtree(tmp_path / "preprocessed" / "Dataset003_T3")
    assert write_views(plans, TRAINER, CONFIGURATION, 0) == views
    assert [content(view) for view in views] == before


@pytest.mark.parametrize("text", ['{"collection"', "[]", '{"collection": {}}', "{}"])
def test_a_damaged_view_ends_no_training_and_is_written_again(plans, tmp_path, text):
    members = [MemberFiles.planned(plans, task) for task in TaskTable.read(plans).tasks]
    view = write_views(plans, TRAINER, CONFIGURATION, 0, members)[2]
    before = content(view)
    (view / "plans.json").write_text(text)
    renew_weights(plans, TRAINER, CONFIGURATION, 0)
    write_views(plans, TRAINER, CONFIGURATION, 0)  # from the collection's model
    assert content(view)["plans.json"] == before["plans.json"]
    (view / "dataset.json").write_text("{")
    write_views(plans, TRAINER, CONFIGURATION, 0)
    assert content(view)["dataset.json"] == before["dataset.json"]


def test_weights_of_other_tasks_leave_the_view_with_its_plans(plans, tmp_path):
    """Planned again in another order: another fold's weights know the tasks by their old numbers."""
    shutil.copytree(fold_of(tmp_path), fold_of(tmp_path).with_name("fold_1"))
    for fold in (0, 1):
        views = write_views(plans, TRAINER, CONFIGURATION, fold)
    table = TaskTable.read(plans)
    other = TaskTable("Dataset900_All", tuple(reversed(table.tasks)))
    for task in other.tasks:
        file = tmp_path / "preprocessed" / task.dataset / "P_Dataset900_All.json"
        member = json.loads(file.read_text()) | {"collection": other.bound_to(task.name).as_json()}
        file.write_text(json.dumps(member))
    plans = plans | {"collection": other.as_json()}
    members = [MemberFiles.planned(plans, task) for task in other.tasks]
    write_views(plans, TRAINER, CONFIGURATION, 0, members)
    for view in views:
        assert (view / "fold_0" / "checkpoint_final.pth").is_file()
        assert not list((view / "fold_1").glob("*.pth"))


def test_a_collection_travels_as_one_zip(plans, tmp_path, monkeypatch):
    """Its model describes the members, so views can be written anywhere."""
    members = [MemberFiles.planned(plans, task) for task in TaskTable.read(plans).tasks]
    views = write_views(plans, TRAINER, CONFIGURATION, 0, members)
    before = [content(view) for view in views]
    fold = fold_of(tmp_path)
    for name in ("plans.json", "dataset_fingerprint.json"):
        (fold.parent / name).write_text(json.dumps(plans))
    (fold / "validation").mkdir()
    (fold / "validation" / "summary.json").write_text("{}")
    archive, elsewhere = tmp_path / "all.zip", tmp_path / "elsewhere"
    chk = ("checkpoint_final.pth", "checkpoint_best.pth")
    export_pretrained_model("Dataset900_All", str(archive), (CONFIGURATION,), TRAINER, "P", (0,), True, chk)
    monkeypatch.setenv("nnUNet_results", str(elsewhere))
    monkeypatch.delenv("nnUNet_preprocessed")
    install_model_from_zip_file(str(archive))
    model = elsewhere / fold.parent.relative_to(tmp_path / "results")
    views = write_views(json.loads((model / "plans.json").read_text()), TRAINER, CONFIGURATION, 0)
    assert [content(view) for view in views] == before


def test_labels_that_were_swapped_since_planning(plans, tmp_path):
    """A view that is written from nnUNet_preprocessed does not name predictions wrongly."""
    folder = tmp_path / "preprocessed" / "Dataset002_T2"
    file = folder / "P_Dataset900_All.json"
    member = json.loads(file.read_text())
    digest = preprocessing_hash(folder, member, member["configurations"][CONFIGURATION])
    for content_ in (member["collection"], plans["collection"]):
        content_["tasks"][1]["preprocessing"] = digest
    file.write_text(json.dumps(member))
    for other in set((tmp_path / "preprocessed").rglob("P_*.json")) - {file}:
        described = json.loads(other.read_text())
        described["collection"]["tasks"] = plans["collection"]["tasks"]
        other.write_text(json.dumps(described))
    write_views(plans, TRAINER, CONFIGURATION, 0)
    shutil.rmtree(tmp_path / "results" / "Dataset002_T2")
    (folder / "dataset.json").write_text(json.dumps({"labels": {"swapped": 1}}))
    with pytest.raises(
        UserError, match="expected the plans of task 'task2' that the model was trained with, found oth"
    ):
        write_views(plans, TRAINER, CONFIGURATION, 0)


def test_member_plans_have_no_views(plans):
    member = plans | {"collection": plans["collection"] | {"task": "task1"}}
    with pytest.raises(UserError, match="expected plans of a collection, got others"):
        write_views(member, TRAINER, CONFIGURATION, 0)


def test_no_room(plans, tmp_path, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(UserError, match=r"expected to write a file of a task view, got .*No space left on device"):
        write_views(plans, TRAINER, CONFIGURATION, 0)
    assert not list((tmp_path / "results").rglob("*.partial"))


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
    assert not (view / "fold_0" / "checkpoint_final.pth").is_symlink()

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
