"""Task views: a model folder for each member of a collection, with which nnU-Net's own commands work.

``nnUNet_results/Dataset003_Liver/UniSegTrainer__<P>_Dataset900_MOTS__3d_fullres`` holds the member's plans, which name
the task, its dataset.json and its fingerprint, written when the training begins; the checkpoints in its folds are the
collection's (:mod:`nnunet_ext.collection.prediction.view_weights`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_results

from nnunet_ext.base.checkpoints import read_trained
from nnunet_ext.base.knobs import resolve
from nnunet_ext.collection.prediction.member_files import DESCRIPTION, MEMBERS, MemberFiles, write_json
from nnunet_ext.collection.prediction.view_weights import follow, remove, remove_links
from nnunet_ext.collection.task_table import Task, TaskTable, member_plans_name
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.files.json_file import read_json, read_object


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


def write_views(
    plans: Mapping[str, Any],
    trainer: str,
    configuration: str,
    fold: int | str,
    members: Sequence[MemberFiles] | None = None,
    *,
    finished: bool = True,
    how: str | None = None,
) -> list[Path]:
    """Write or renew the view of every member for one fold.

    Args:
        plans: The collection's plans that the model was trained with.
        trainer: Name of the trainer's class.
        configuration: Name of the configuration.
        fold: The fold, which has a folder.
        members: What the views hold besides weights, in the order of the tasks; the collection's model takes it too.
            None: what they hold already, or the collection's model, or what is in nnUNet_preprocessed.
        finished: The training has ended: weights are copied where the file system cannot clone.
        how: ``"own"`` or ``"links"``, instead of what the plans say.

    Returns:
        The views, in the order of the tasks.

    Raises:
        UserError: A file of a member is missing, the member was planned again since, or nothing can be written.
    """
    table = TaskTable.read(plans)
    if table is None or table.bound is not None:
        raise UserError(
            f"plans {plans['plans_name']!r}: expected plans of a collection, got others. Correct -d and -p."
        )
    views = _views(plans, table, trainer, configuration)
    source = _collection_fold(plans, table, trainer, configuration, fold)
    if members is None:  # all are read before any write
        members = [
            MemberFiles.trained(plans, task, configuration, view, source.parent)
            for task, view in zip(table.tasks, views, strict=True)
        ]
    else:
        described = {task.name: files.as_json() for task, files in zip(table.tasks, members, strict=True)}
        write_json(source.parent / DESCRIPTION, read_json(source.parent / DESCRIPTION) | {MEMBERS: described})
    how = how or resolve(dict(plans), configuration)["multi_dataset"]["view_weights"]
    for view, files, task in zip(views, members, table.tasks, strict=True):
        place = view / f"fold_{fold}"
        _make(place)
        try:
            if _fits(view, table, task) is False:  # nor do its plans describe the weights of other folds any more
                for old in view.glob("fold_*"):
                    remove(old)
            files.write(view)
            follow(source, place, how, finished=finished)
        except OSError as error:
            raise UserError(
                f"{view}: expected to write a task view, got {one_line(error)!r}. Free space or change the folder's "
                f"rights, then run nnunet_ext task_views."
            ) from error
    return views


def renew_weights(plans: Mapping[str, Any], trainer: str, configuration: str, fold: int | str) -> None:
    """Let the views that have this fold follow the collection's files, during training.

    The view of an earlier model, with other tasks or preprocessing, loses its links, which would lead to
    weights that its plans do not describe; files of its own keep the earlier weights.

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
    how = resolve(dict(plans), configuration)["multi_dataset"]["view_weights"]
    views = dict(zip(_views(plans, table, trainer, configuration), table.tasks, strict=True))
    model = _model(table.collection, trainer, plans["plans_name"], configuration)
    for view in Path(str(nnUNet_results)).glob(f"Dataset*/{model}"):
        place = view / f"fold_{fold}"
        if not place.is_dir():
            continue
        if view in views and (view / "plans.json").is_file() and _fits(view, table, views[view]) is not False:
            follow(source, place, how, finished=False)
        else:
            remove_links(place)


def check_same_tasks(plans: Mapping[str, Any], checkpoint: Path) -> None:
    """Refuse a fold whose tasks are not those that the model's plans name now.

    Raises:
        UserError: They are not: the collection was planned again since.
    """
    table, trained = TaskTable.read(plans), TaskTable.read(read_trained(checkpoint)["init_args"]["plans"])
    if table is None or not table.fits(trained):
        raise UserError(
            f"{checkpoint}: expected a checkpoint of the tasks in the model's plans.json, found one of earlier plans. "
            f"Train this fold again, or leave it out (-f)."
        )


def fold_of_collection(plans: Mapping[str, Any], trainer: str, configuration: str, fold: int | str) -> Path:
    """Return the folder in which a collection's fold is trained."""
    table = TaskTable.read(plans)
    assert table is not None
    return _collection_fold(plans, table, trainer, configuration, fold)


def _fits(view: Path, table: TaskTable, task: Task) -> bool | None:
    """Whether a view describes this task of these tasks; None if it does not exist yet or is damaged."""
    try:
        return table.bound_to(task.name).fits(TaskTable.read(read_object(view / "plans.json")))
    except (UserError, KeyError, TypeError):
        return None


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


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: expected to make the folder of a task view, got {error.strerror!r}. Remove what is in its "
            f"place, free space, or correct the permissions."
        ) from error
