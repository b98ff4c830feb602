"""Make a collection: determine its tasks and their members, write the members that are parts, then the manifest."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from nnunet_ext.collection.collect.draft import Collected, Draft, check_drafts, drafts_of
from nnunet_ext.collection.collect.part import Part, check_source_labels, write_parts, written_parts
from nnunet_ext.collection.collect.selection import Selection
from nnunet_ext.collection.manifest import (
    Manifest,
    check_dataset_name,
    is_collection,
    parse_manifest,
)
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.folds import Folds
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import is_partial, read_json, write_json
from nnunet_ext.files.system_files import files_in
from nnunet_ext.stock.folders import Folders

LAST_NUMBER = 999


def collect(
    collection: str,
    selections: Sequence[Selection],
    folders: Folders,
    *,
    spacing: str = "own",
    normalization: str = "own",
    network_of: str | None = None,
    show_progress: bool = True,
) -> list[Collected]:
    """Write a collection; the same call again finds everything in place and changes nothing.

    Args:
        collection: ``Dataset900_MOTS``.
        selections: Its members.
        folders: nnU-Net's folders.
        spacing: ``"own"`` or ``"one"`` for all.
        normalization: ``"own"`` or ``"one"`` for all.
        network_of: Another collection whose network it takes over.
        show_progress: Show a progress bar.

    Returns:
        Its tasks.

    Raises:
        UserError: The first mistake; nothing is left on disk.
    """
    place = folders.raw / collection
    check_dataset_name(collection, place)
    old = _check_place(collection, folders)
    drafts = [draft for selection in selections for draft in drafts_of(selection, collection)]
    check_drafts(drafts)
    present = _present_parts(folders.raw, collection, old)
    names = _part_names(drafts, present, collection, folders)
    tasks = [draft.task(names) for draft in drafts]
    manifest = Manifest(collection, tuple(tasks), spacing, normalization, network_of)
    if old is not None and old != manifest:
        raise UserError(
            f"{place}: expected no collection, or one with these tasks, found {_difference(old, manifest)}. "
            f"Choose another -d and -n, edit its dataset.json, or delete the folder."
        )
    parts = {names[draft.name]: draft.part for draft in drafts if draft.part is not None}
    notes = {name: _fold_note(part.folds(folders.preprocessed)) for name, part in parts.items()}
    new = {name: part for name, part in parts.items() if not _is_written(part, folders.raw / name)}
    if new:
        write_parts(new, folders.raw, folders.preprocessed, show_progress=show_progress)
    if old is None:
        place.mkdir(exist_ok=True)
        write_json(place / "dataset.json", manifest.as_json())
    return [draft.collected(task, notes.get(task.dataset, "")) for draft, task in zip(drafts, tasks, strict=True)]


# members that are parts


def _present_parts(raw: Path, collection: str, old: Manifest | None) -> dict[tuple[str, str], str]:
    """The datasets that parts already have: from an earlier call that was interrupted, or in the manifest."""
    found = {key: part.folder.name for key, part in written_parts(raw, collection).items()}
    for task in old.tasks if old else ():
        if task.source is not None:
            found[task.source, task.name] = task.dataset
    return found


def _part_names(
    drafts: Sequence[Draft], present: Mapping[tuple[str, str], str], collection: str, folders: Folders
) -> dict[str, str]:
    """The dataset of each task that is a part: the one it has already, else the next free number."""
    used = folders.datasets() | {collection}
    numbers = _free_numbers(dataset_number(collection), {dataset_number(name) for name in used | set(present.values())})
    found = {}
    for draft in drafts:
        if draft.part is not None:
            found[draft.name] = present.get(draft.key) or f"Dataset{next(numbers):03d}_{draft.name}"
    return found


def _free_numbers(after: int, used: Collection[int]) -> Iterator[int]:
    for number in (*range(after + 1, LAST_NUMBER + 1), *range(1, after)):
        if number not in used:
            yield number
    raise UserError("nnUNet_raw: expected a free number from 1 to 999 for a new dataset, found none. Delete one.")


def _is_written(part: Part, place: Path) -> bool:
    """Whether a part exists; a different dataset of its name is never overwritten."""
    if not place.exists():
        return False
    if read_json(place / "dataset.json") != part.description():
        raise UserError(
            f"{place}: expected task {part.task!r} as requested now, found it written before with other classes, cases "
            f"or images. Delete the folder (and what nnU-Net preprocessed of it) to write it again."
        )
    check_source_labels(place)
    return True


def _fold_note(folds: Folds) -> str:
    notes = []
    for key, remark in (("train", "no training case"), ("val", "no validation case")):
        empty = [str(number) for number, fold in enumerate(folds) if not fold[key]]
        if empty:
            notes.append(f"{remark} in fold{'s' * (len(empty) > 1)} {', '.join(empty)}")
    return "; ".join(notes)


# the collection's folder


def _check_place(collection: str, folders: Folders) -> Manifest | None:
    """Return the existing manifest, if any; refuse a folder or number that something else has."""
    folders.check_number(collection, "-d")
    place = folders.raw / collection
    if all(is_partial(path.name) for path in files_in(place)):  # empty, or left by a killed collect
        return None
    file = place / "dataset.json"
    content = read_json(file, unique=True) if file.is_file() else None
    if not isinstance(content, dict) or not is_collection(content):
        raise UserError(
            f"{place}: expected no folder or a collection's, found one that is not a collection. Choose another number "
            f"after -d."
        )
    return parse_manifest(content, file)


def _difference(old: Manifest, new: Manifest) -> str:
    there, wanted = ({task.name: task for task in manifest.tasks} for manifest in (old, new))
    if list(there) != list(wanted):
        return f"tasks {', '.join(there)} instead of {', '.join(wanted)}"
    for name, task in wanted.items():
        if there[name] != task:
            return f"task {name!r} as {json.dumps(there[name].as_json())} instead of {json.dumps(task.as_json())}"
    return "another spacing, normalization or network_of"
