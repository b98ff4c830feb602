"""Task views: a model folder for each member of a collection, with which nnU-Net's own commands work.

``nnUNet_results/Dataset003_Liver/UniSegTrainer__<P>_Dataset900_MOTS__3d_fullres`` holds the member's plans, which name
the task, its dataset.json and its fingerprint; the checkpoints in its folds are links to the collection's: the weights
lie on disk once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed, nnUNet_results

from nnunet_ext.base.json_file import partial_of, read_json
from nnunet_ext.base.one_line import one_line
from nnunet_ext.errors import UserError
from nnunet_ext.multi_dataset.task_table import Task, TaskTable, member_plans_name

LINKED = ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth", "progress.png", "debug.json")
PASSING = "checkpoint_latest.pth"  # removed at the end of the training


def view_folder(results: Path, task: Task, collection: str, trainer: str, plans_name: str, configuration: str) -> Path:
    """Return the model folder of a task.

    Args:
        results: The folder nnUNet_results.
        task: The task.
        collection: ``Dataset900_MOTS``.
        trainer: Name of the trainer's class.
        plans_name: Name of the collection's plans.
        configuration: Name of the configuration.
    """
    return results / task.dataset / _model(collection, trainer, plans_name, configuration)


def write_views(plans: Mapping[str, Any], trainer: str, configuration: str, fold: int | str) -> list[Path]:
    """Write or renew the view of every member for one fold.

    Args:
        plans: The collection's plans that the model was trained with.
        trainer: Name of the trainer's class.
        configuration: Name of the configuration.
        fold: The fold, which has a folder.

    Returns:
        The views, in the order of the tasks.

    Raises:
        UserError: A file of a member is missing, the member was planned again since, or nothing can be written.
    """
    table = TaskTable.read(plans)
    if table is None or table.bound is not None:
        raise UserError(f"plans {plans['plans_name']!r}: expected plans of a collection, got others. Mend -d and -p.")
    contents = [_contents(plans, table, task, configuration) for task in table.tasks]  # all are read before any write
    views = _views(plans, table, trainer, configuration)
    for view, content in zip(views, contents, strict=True):
        _make(view / f"fold_{fold}")
        for file in content:
            name = "plans.json" if file.stem == member_plans_name(plans["plans_name"], table.collection) else file.name
            _put(view / name, file, (shutil.copyfile,))
        _renew(_collection_fold(plans, table, trainer, configuration, fold), view / f"fold_{fold}")
    return views


def renew_links(plans: Mapping[str, Any], trainer: str, configuration: str, fold: int | str) -> None:
    """Let the views that have this fold follow the collection's files; a link whose file is gone goes.

    The view of an earlier model, with other tasks or preprocessing, loses its symbolic links, which would lead to
    weights that its plans do not describe; hard links and copies keep the earlier weights.

    Args:
        plans: The collection's plans.
        trainer: Name of the trainer's class.
        configuration: Name of the configuration.
        fold: The fold.

    Raises:
        UserError: Nothing can be written.
    """
    table = TaskTable.read(plans)
    assert table is not None
    source = _collection_fold(plans, table, trainer, configuration, fold)
    views = dict(zip(_views(plans, table, trainer, configuration), table.tasks, strict=True))
    model = _model(table.collection, trainer, plans["plans_name"], configuration)
    for view in Path(str(nnUNet_results)).glob(f"Dataset*/{model}"):
        if not (view / f"fold_{fold}").is_dir():
            continue
        task = views.get(view)
        if task is not None and table.bound_to(task.name).fits(TaskTable.read(read_json(view / "plans.json"))):
            _renew(source, view / f"fold_{fold}")
        else:
            _unlink(view / f"fold_{fold}")


def _model(collection: str, trainer: str, plans_name: str, configuration: str) -> str:
    """Name of the views' folders, equal in all members."""
    return f"{trainer}__{member_plans_name(plans_name, collection)}__{configuration}"


def _collection_fold(
    plans: Mapping[str, Any], table: TaskTable, trainer: str, configuration: str, fold: int | str
) -> Path:
    model = f"{trainer}__{plans['plans_name']}__{configuration}"
    return Path(str(nnUNet_results)) / table.collection / model / f"fold_{fold}"


def _views(plans: Mapping[str, Any], table: TaskTable, trainer: str, configuration: str) -> list[Path]:
    results = Path(str(nnUNet_results))
    return [
        view_folder(results, task, table.collection, trainer, plans["plans_name"], configuration)
        for task in table.tasks
    ]


def _contents(plans: Mapping[str, Any], table: TaskTable, task: Task, configuration: str) -> tuple[Path, Path, Path]:
    """Return the files of a member that a view copies, after checking that they belong to these plans."""
    folder = Path(str(nnUNet_preprocessed)) / task.dataset
    file = folder / f"{member_plans_name(plans['plans_name'], table.collection)}.json"
    files = file, folder / "dataset.json", folder / "dataset_fingerprint.json"
    again = f"nnunet_ext plan_and_preprocess -d {int(table.collection[7:10])}"
    for needed in files:
        if not needed.is_file():
            raise UserError(f"{needed}: expected it for the view of task {task.name!r}, found no file. Run {again}")
    member = read_json(file)
    shared = _network(member, configuration) == _network(plans, configuration)
    if not shared or not table.bound_to(task.name).fits(TaskTable.read(member)):
        raise UserError(
            f"{file}: expected the plans of task {task.name!r} that the model was trained with, found others: the "
            f"collection was planned again since. Train anew, or restore the old plans."
        )
    return files


def _network(plans: Mapping[str, Any], configuration: str) -> tuple[Any, Any]:
    found = plans["configurations"][configuration]
    return found["patch_size"], found["architecture"]


def _renew(source: Path, fold: Path) -> None:
    """Make each link in a view's fold stand for the collection's file, if that is there."""
    for name in LINKED:
        if (source / name).is_file():
            if not _stands_for(fold / name, source / name):
                _put(fold / name, source / name, (_symlink, os.link, shutil.copy2))
        elif (fold / name).is_symlink() or name == PASSING:  # a file of its own may be the last of its kind
            (fold / name).unlink(missing_ok=True)


def _unlink(fold: Path) -> None:
    """Remove the links that lead to the collection's files."""
    for name in LINKED:
        if (fold / name).is_symlink():
            (fold / name).unlink()


def _stands_for(link: Path, file: Path) -> bool:
    """Whether ``link`` is a link to ``file`` or a copy that is as new."""
    if not link.is_file():
        return False
    if link.samefile(file):
        return True
    ours, theirs = link.stat(), file.stat()
    return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: expected to make the folder of a task view, got {error.strerror!r}. Remove what is in its "
            f"place, free space, or correct the permissions."
        ) from error


def _put(place: Path, file: Path, ways: tuple[Callable[[Path, Path], object], ...]) -> None:
    """Put ``file`` at ``place`` in one step, in the first way that the file system knows."""
    partial = partial_of(place)
    partial.unlink(missing_ok=True)
    try:
        for way in ways[:-1]:
            with contextlib.suppress(OSError, ValueError, NotImplementedError):  # ValueError: another drive
                way(file, partial)
                partial.replace(place)
                return
            partial.unlink(missing_ok=True)
        ways[-1](file, partial)
        partial.replace(place)
    except OSError as error:
        raise UserError(
            f"{place}: expected to write a file of a task view, got {one_line(error)!r}. Free space or mend the "
            f"folder's rights, then run nnunet_ext task_views."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _symlink(file: Path, link: Path) -> None:
    """Link relatively, so that the results folder may move; through real paths, as a data set may be a link itself."""
    link.symlink_to(os.path.relpath(file.resolve(), link.parent.resolve()))
    if not link.is_file():
        raise OSError(f"{link}: a link that leads nowhere")
