"""Make a collection: settle its tasks and their members, write the members that are parts, then the manifest."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.collection.annotated_classes import Signature, annotated_classes, signatures
from nnunet_ext.collection.collect.part import Part, check_source_labels, write_parts, written_parts
from nnunet_ext.collection.collect.selection import Selection
from nnunet_ext.collection.label_subset import class_values
from nnunet_ext.collection.manifest import (
    Manifest,
    ManifestTask,
    check_dataset_name,
    check_task_name,
    is_collection,
    parse_manifest,
)
from nnunet_ext.collection.members import FEWEST_CASES
from nnunet_ext.data.dataset_json import IGNORE
from nnunet_ext.data.folds import Folds
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import is_partial, read_json, write_json
from nnunet_ext.files.system_files import files_in

LAST_NUMBER = 999
LONGEST_NAME = 60  # of a task named after its classes


@dataclass(frozen=True)
class Folders:
    """nnU-Net's folders.

    Args:
        raw: nnUNet_raw.
        preprocessed: nnUNet_preprocessed, if it is there.
        results: nnUNet_results, if it is there.
    """

    raw: Path
    preprocessed: Path | None = None
    results: Path | None = None

    def datasets(self) -> set[str]:
        """Return the names of all data sets in any of the three."""
        return {
            place.name
            for folder in (self.raw, self.preprocessed, self.results)
            if folder is not None
            for place in folder.glob("Dataset[0-9][0-9][0-9]_*")
            if place.is_dir()
        }

    def check_number(self, name: str, option: str) -> None:
        """Refuse a new data set whose number, given by ``option``, another one has.

        Raises:
            UserError: It is not free.
        """
        others = sorted(other for other in self.datasets() if int(other[7:10]) == int(name[7:10]) and other != name)
        if others:
            raise UserError(
                f"{name}: expected a free number, {others[0]} has it too. Choose another number after {option}."
            )


@dataclass(frozen=True)
class Collected:
    """A task of the collection, for the table that is shown.

    Args:
        task: Its entry in the manifest.
        cases: Number of cases.
        channels: Image channels.
        labels: Classes, with ignore.
        note: What the user should know of it.
    """

    task: ManifestTask
    cases: int
    channels: int
    labels: tuple[str, ...]
    note: str


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
        UserError: The first mistake; nothing is left written.
    """
    place = folders.raw / collection
    check_dataset_name(collection, place)
    old = _check_place(collection, folders)
    drafts = [draft for selection in selections for draft in _drafts(selection, collection)]
    _check_drafts(drafts)
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


@dataclass(frozen=True)
class _Draft:
    """A task whose member may still have to be written."""

    name: str
    selection: Selection
    part: Part | None = None
    note: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """How a written part is found again."""
        return self.selection.dataset.folder.name, self.name

    def task(self, names: Mapping[str, str]) -> ManifestTask:
        source = self.selection.dataset.folder.name
        own = (self.selection.weight, self.selection.spacing, self.selection.normalization)
        if self.part is None:
            return ManifestTask(self.name, source, None, (), *own)
        return ManifestTask(self.name, names[self.name], source, tuple(self.part.labels.items()), *own)

    def collected(self, task: ManifestTask, note: str) -> Collected:
        dataset = self.selection.dataset
        classes = list(self.part.labels.values()) if self.part else list(class_values(dataset))
        ignore = [IGNORE] if IGNORE in dataset.description["labels"] else []
        cases = len(self.part.cases if self.part else dataset.cases())
        notes = "; ".join(filter(None, (self.note, note)))
        return Collected(task, cases, len(dataset.channel_names), (*classes, *ignore), notes)


# tasks


def _drafts(selection: Selection, collection: str) -> list[_Draft]:
    dataset = selection.dataset
    check_source_labels(dataset.folder)
    everything = {name: name for name in class_values(dataset)}
    chosen = dict(selection.labels or everything.items())
    chosen = {name: chosen[name] for name in everything if name in chosen}
    all_cases = tuple(case.name for case in dataset.cases())
    cases = all_cases if selection.cases is None else tuple(name for name in all_cases if name in selection.cases)
    annotated = annotated_classes(dataset, cases)
    found = signatures(dataset, annotated, chosen, selection.word)
    suffix = dataset.folder.name.partition("_")[2]
    if len(found) == 1 and set(found[0].cases) == set(all_cases):
        labels = {name: chosen[name] for name in found[0].classes}
        if labels == everything:
            return [_Draft(selection.name or suffix, selection)]
    names = _names(selection, found, chosen, suffix)
    return [
        _Draft(
            name, selection, _part(name, selection, signature, chosen, annotated, collection), _merge_note(signature)
        )
        for name, signature in zip(names, found, strict=True)
    ]


def _part(
    name: str,
    selection: Selection,
    signature: Signature,
    chosen: Mapping[str, str],
    annotated: Mapping[str, frozenset[str]],
    collection: str,
) -> Part:
    labels = {old: chosen[old] for old in signature.classes}
    everything = frozenset(class_values(selection.dataset))
    partly = {case: annotated[case] for case in signature.cases if annotated[case] != everything}
    return Part(selection.dataset, collection, name, labels, signature.cases, partly)


def _names(selection: Selection, found: Sequence[Signature], chosen: Mapping[str, str], suffix: str) -> list[str]:
    """Names of one data set's tasks, after their classes where nobody named them."""
    if len(found) == 1 and selection.name is not None:
        return [selection.name]
    base = selection.name or suffix
    if len(found) == 1 and selection.labels is None and len(found[0].classes) == len(chosen):
        return [base]
    names = [_class_name(base, [chosen[name] for name in signature.classes]) for signature in found]
    count: Counter[str] = Counter()
    for index, name in enumerate(names):
        count[name] += 1
        names[index] = name if count[name] == 1 else f"{name}-{count[name]}"
    return names


def _class_name(base: str, classes: Sequence[str]) -> str:
    text = "_".join(re.sub(r"[^A-Za-z0-9_.-]+", "-", name) for name in classes)
    name = re.sub("__+", "_", f"{base}_{text}").strip("_.-")
    return name if len(name) <= LONGEST_NAME else f"{base}_{len(classes)}class{'es' * (len(classes) > 1)}"


def _check_drafts(drafts: Sequence[_Draft]) -> None:
    names: dict[str, _Draft] = {}
    members: dict[str, _Draft] = {}
    for draft in drafts:
        word = draft.selection.word
        check_task_name(draft.name, f"{word} (add name=NAME)")
        if draft.name.casefold() in names:
            other = names[draft.name.casefold()].selection.word
            raise UserError(
                f"{word}: expected another task name than that of {other!r}, got {draft.name!r} too. Add :name=NAME to "
                f"one of them."
            )
        names[draft.name.casefold()] = draft
        dataset = draft.selection.dataset.folder.name
        if draft.part is None:
            if dataset in members:
                raise UserError(
                    f"{word}: expected one task for each whole data set, {dataset} is also that of "
                    f"{members[dataset].name!r}. Remove one, or make a part of it: {dataset[7:10]}:labels=..."
                )
            members[dataset] = draft
        elif len(draft.part.cases) < FEWEST_CASES:
            raise UserError(
                f"{word}: expected at least {FEWEST_CASES} cases for task {draft.name!r} (one trains, one validates), "
                f"found {len(draft.part.cases)}. Name more."
            )


# members that are parts


def _present_parts(raw: Path, collection: str, old: Manifest | None) -> dict[tuple[str, str], str]:
    """The data sets that were given to parts before: by an earlier call that broke off, or in the manifest."""
    found = {key: part.folder.name for key, part in written_parts(raw, collection).items()}
    for task in old.tasks if old else ():
        if task.source is not None:
            found[task.source, task.name] = task.dataset
    return found


def _part_names(
    drafts: Sequence[_Draft], present: Mapping[tuple[str, str], str], collection: str, folders: Folders
) -> dict[str, str]:
    """The data set of each task that is a part: the one it has already, else the next free number."""
    used = folders.datasets() | {collection}
    numbers = _free_numbers(int(collection[7:10]), {int(name[7:10]) for name in used | set(present.values())})
    found = {}
    for draft in drafts:
        if draft.part is not None:
            found[draft.name] = present.get(draft.key) or f"Dataset{next(numbers):03d}_{draft.name}"
    return found


def _free_numbers(after: int, used: Collection[int]) -> Iterator[int]:
    for number in (*range(after + 1, LAST_NUMBER + 1), *range(1, after)):
        if number not in used:
            yield number
    raise UserError("nnUNet_raw: expected a free number from 1 to 999 for a new data set, found none. Delete one.")


def _is_written(part: Part, place: Path) -> bool:
    """Whether a part is there; what is there under its name but differs is never overwritten."""
    if not place.exists():
        return False
    if read_json(place / "dataset.json") != part.description():
        raise UserError(
            f"{place}: expected task {part.task!r} as it is wanted now, found it with other classes, cases or images, "
            f"written before. Delete the folder (and what nnU-Net preprocessed of it) to write it again."
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


def _merge_note(signature: Signature) -> str:
    return "; ".join(
        f"{number} case{'s' * (number > 1)} of {'+'.join(classes)} joined: "
        f"{'+'.join(name for name in classes if name not in signature.classes)} not used there"
        for number, classes in signature.merged
    )


# the collection's folder


def _check_place(collection: str, folders: Folders) -> Manifest | None:
    """Return the manifest that is there, if any; refuse a folder or number that something else has."""
    folders.check_number(collection, "-d")
    place = folders.raw / collection
    if all(is_partial(path.name) for path in files_in(place)):  # empty, or left by a killed collect
        return None
    file = place / "dataset.json"
    content = read_json(file, unique=True) if file.is_file() else None
    if not isinstance(content, dict) or not is_collection(content):
        raise UserError(
            f"{place}: expected no folder or a collection's, found one that is no collection. Choose another number "
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
