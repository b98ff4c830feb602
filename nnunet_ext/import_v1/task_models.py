"""Import a UniSeg model: one network, and a model folder for each task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from nnunet_ext.collection.prediction.member_files import MEMBERS, MemberFiles
from nnunet_ext.collection.prediction.task_views import view_folder
from nnunet_ext.collection.task_table import BLOCK, CONFIGURATION, Task, TaskTable, member_plans_name
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.import_v1.labels import ENDING
from nnunet_ext.import_v1.model_folder import ModelFolder, write_models
from nnunet_ext.import_v1.target import Target
from nnunet_ext.import_v1.uniseg_tasks import AUTHORS, UniSegTask
from nnunet_ext.import_v1.v1_model import Decision, V1Model, in_words
from nnunet_ext.import_v1.v2_plans import NAME, v2_plans

STEM, HEADS = "conv_blocks_context.0.blocks.0.conv_", "seg_outputs."


def import_tasks(
    source: V1Model,
    target: Target,
    *,
    tasks: Path | None = None,
    chosen: Sequence[str] = (),
    mirror_axes: Sequence[int] | None = None,
    show_progress: bool = False,
) -> tuple[list[Path], list[Decision]]:
    """Write a UniSeg model of v1 as the model of a collection, and as a task view for each task.

    Args:
        source: The v1 model.
        target: Where it is written; in a folder of its own, only views are.
        tasks: A file that describes the tasks; None: the authors' 11, if the weights are of that many.
        chosen: Names or numbers of the tasks that get a view; all by default.
        mirror_axes: Axes along which predictions are mirrored.
        show_progress: Show a progress bar.

    Returns:
        The views, and what was decided.

    Raises:
        UserError: The tasks do not fit the network, or nothing can be written.
    """
    described = _described(source, tasks)
    wanted = _wanted(described, chosen)
    patch = _patch(source)
    axes, mirroring_from = source.mirroring(mirror_axes)
    names = [target.member(number, task.name) for number, task in enumerate(described)]
    table = TaskTable(target.dataset, tuple(map(_row, described, names)), manifest=_manifest(described, names))
    trainer = source.method.trainer.__name__
    plans = _plans(source, described[0], target.dataset, patch) | {BLOCK: table.as_json()}
    models: list[ModelFolder] = []
    members: dict[str, Any] = {}
    for task, row in zip(described, table.tasks, strict=True):
        own = {"plans_name": member_plans_name(NAME, target.dataset), BLOCK: table.bound_to(task.name).as_json()}
        folder = target.out / task.name if target.out is not None else Path()
        if target.results is not None:
            folder = view_folder(target.results, row, target.dataset, trainer, NAME, CONFIGURATION)
        model = ModelFolder(folder, _plans(source, task, row.dataset, patch) | own, _dataset_json(task), _unknown(task))
        members[task.name] = MemberFiles(folder, model.plans, model.dataset_json, model.fingerprint).as_json()
        if task in wanted:
            target.check_number(row.dataset)
            models.append(model)
    views = [model.place for model in models]
    description = _of_collection(described, table, members)
    if target.results is not None:
        target.check_number(target.dataset)
        place = target.model(target.dataset, trainer, NAME, CONFIGURATION)
        models.insert(0, ModelFolder(place, plans, description, _unknown(described[0])))
    for model in models:
        model.check_new()
    checkpoints = {
        fold: source.content(fold, _used(each.weights, table), plans, CONFIGURATION, description, axes)
        for fold, each in source.checkpoints.items()
    }
    write_models(models, checkpoints, show_progress=show_progress)
    patch_from = "the prompt's size" if source.plans is None else str(source.plans.file)
    return views, [
        *source.network_decisions(patch, patch_from),
        ("mirroring", "off" if axes is None else " ".join(map(str, axes)), mirroring_from),
        *_decisions(described, names, wanted, "the authors' tasks" if tasks is None else str(tasks)),
    ]


def _described(source: V1Model, file: Path | None) -> tuple[UniSegTask, ...]:
    """Return the tasks, if they fit the network."""
    sizes, place = source.geometry, source.first.file
    assert sizes.prompt is not None
    count = sizes.prompt[1]
    tasks = AUTHORS if file is None else UniSegTask.read(file)
    if len(tasks) != count:
        remedy = "Describe each with --tasks FILE" if file is None else "Describe each, in the order of their numbers"
        raise UserError(f"{place}: expected {len(tasks)} tasks ({file or 'the authors'}), found {count}. {remedy}.")
    for task in tasks:
        if len(task.labels) > sizes.heads:
            raise UserError(
                f"{place}: expected at least {len(task.labels)} logits for task {task.name!r}, found {sizes.heads}. "
                f"Correct its labels in --tasks FILE."
            )
        if len(task.channels) not in sizes.stems:
            raise UserError(
                f"{place}: expected a first convolution for the {len(task.channels)} channels of task {task.name!r}, "
                f"found those for {', '.join(map(str, sizes.stems))}. Correct its channels in --tasks FILE."
            )
    return tasks


def _wanted(tasks: Sequence[UniSegTask], chosen: Sequence[str]) -> list[UniSegTask]:
    known = {task.name: task for task in tasks}
    found = []
    for name in chosen:
        if name.isdecimal() and int(name) < len(tasks):
            found.append(tasks[int(name)])
        elif name in known:
            found.append(known[name])
        else:
            raise UserError(
                f"--task: expected a number below {len(tasks)}, or a task's name, got {name!r}. {nearest(name, known)}"
            )
    return found or list(tasks)


def _patch(source: V1Model) -> list[int]:
    """Return the training patch, which the prompt's size and the strides say too."""
    sizes = source.geometry
    assert sizes.prompt is not None
    patch = [length * stride for length, stride in zip(sizes.prompt[2:], sizes.total_stride, strict=True)]
    if source.plans is not None and source.plans.patch_size != patch:
        raise UserError(
            f"{source.first.file}: expected 'intermedia_prompt' for the patch {in_words(source.plans.patch_size)} of "
            f"the plans, found one of shape {sizes.prompt}, for the patch {in_words(patch)}. Give the plans of this "
            f"training, or none."
        )
    return patch


def _plans(source: V1Model, task: UniSegTask, dataset: str, patch: Sequence[int]) -> dict[str, Any]:
    kernels, knobs = source.method.network_plans(source.geometry)
    preprocessing, batch_size = task.preprocessing(), 2
    if source.plans is not None:
        forward, backward = (
            source.plans.content.get(f"transpose_{way}") or (0, 1, 2) for way in ("forward", "backward")
        )
        preprocessing = dataclasses.replace(
            preprocessing, transpose_forward=list(forward), transpose_backward=list(backward)
        )
        batch_size = int(source.plans.planned.get("batch_size", batch_size))
    return v2_plans(
        dataset,
        CONFIGURATION,
        source.geometry,
        preprocessing,
        kernels=kernels,
        patch_size=patch,
        batch_size=batch_size,
        knobs=knobs,
    )


def _row(task: UniSegTask, dataset: str) -> Task:
    return Task(task.name, dataset, len(task.channels), len(task.labels), task.cases)


def _manifest(tasks: Sequence[UniSegTask], names: Sequence[str]) -> dict[str, Any]:
    entries = {
        task.name: {"dataset": name, "spacing": list(task.spacing)} for task, name in zip(tasks, names, strict=True)
    }
    return {"tasks": entries, "spacing": "own", "normalization": "own"}


def _dataset_json(task: UniSegTask) -> dict[str, Any]:
    return {
        "channel_names": {str(number): name for number, name in enumerate(task.channels)},
        "labels": task.described_labels,
        "numTraining": task.cases,
        "file_ending": ENDING,
    }


def _of_collection(tasks: Sequence[UniSegTask], table: TaskTable, members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest, stock's keys as large as the largest task has them, and the files of all views."""
    largest = _dataset_json(max(tasks, key=lambda task: len(task.channels)))
    return {
        **dict(table.manifest or {}),
        **largest,
        "labels": {"background": 0} | {f"class {number}": number for number in range(1, table.max_heads)},
        "numTraining": sum(task.cases for task in tasks),
        MEMBERS: dict(members),
    }


def _unknown(task: UniSegTask) -> dict[str, Any]:
    """Return a fingerprint without images, which the authors' files do not describe."""
    return {
        "spacings": [],
        "shapes_after_crop": [],
        "foreground_intensity_properties_per_channel": dict(task.preprocessing().intensities),
    }


def _used(weights: Mapping[str, Tensor], table: TaskTable) -> dict[str, Tensor]:
    """Return the weights without stems and logits that no task uses."""
    stems = {f"{STEM}{channels}" for channels in table.channel_numbers}
    kept = {}
    for name, tensor in weights.items():
        if not name.startswith(STEM) or name.rpartition(".")[0] in stems:
            kept[name] = tensor[: table.max_heads] if name.startswith(HEADS) else tensor
    return kept


def _decisions(
    tasks: Sequence[UniSegTask], names: Sequence[str], wanted: Sequence[UniSegTask], source: str
) -> list[Decision]:
    rows = []
    for number, (task, dataset) in enumerate(zip(tasks, names, strict=True)):
        if task in wanted:
            told = (
                dataset,
                f"{in_words(task.spacing)} mm",
                task.preprocessing().described,
                f"classes {', '.join(task.labels)}",
            )
            rows.append((f"task {number}", "; ".join(told), source))
    return rows
