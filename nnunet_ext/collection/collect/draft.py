"""The tasks that a selection of datasets makes, before anything is written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnunet_ext.collection.annotated_classes import Signature, annotated_classes, signatures
from nnunet_ext.collection.collect.part import Part, check_source_labels
from nnunet_ext.collection.collect.selection import Selection
from nnunet_ext.collection.label_subset import class_values
from nnunet_ext.collection.manifest import ManifestTask, check_task_name
from nnunet_ext.collection.members import FEWEST_CASES
from nnunet_ext.data.dataset_json import IGNORE, dataset_number
from nnunet_ext.errors import UserError

LONGEST_NAME = 60  # of a task named after its classes


@dataclass(frozen=True)
class Collected:
    """A task of the collection, for the table that is shown.

    Args:
        task: Its entry in the manifest.
        cases: Number of cases.
        channels: Image channels.
        labels: Classes, with ignore.
        note: What the user should know about it.
    """

    task: ManifestTask
    cases: int
    channels: int
    labels: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Draft:
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
        """Return the manifest's entry; ``names`` are the datasets of tasks that are parts."""
        source = self.selection.dataset.folder.name
        own = (self.selection.weight, self.selection.spacing, self.selection.normalization)
        if self.part is None:
            return ManifestTask(self.name, source, None, (), *own)
        return ManifestTask(self.name, names[self.name], source, tuple(self.part.labels.items()), *own)

    def collected(self, task: ManifestTask, note: str) -> Collected:
        """Return the line of the table that is shown."""
        dataset = self.selection.dataset
        classes = list(self.part.labels.values()) if self.part else list(class_values(dataset))
        ignore = [IGNORE] if IGNORE in dataset.description["labels"] else []
        cases = len(self.part.cases if self.part else dataset.cases())
        notes = "; ".join(filter(None, (self.note, note)))
        return Collected(task, cases, len(dataset.channel_names), (*classes, *ignore), notes)


def drafts_of(selection: Selection, collection: str) -> list[Draft]:
    """Return the tasks of one dataset: one, or as many as there are sets of classes that are annotated together.

    Args:
        selection: The dataset, and which of its classes and cases.
        collection: ``Dataset900_MOTS``.

    Raises:
        UserError: Its labels were corrected since it was taken from another dataset, or no task can be made.
    """
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
            return [Draft(selection.name or suffix, selection)]
    names = _names(selection, found, chosen, suffix)
    return [
        Draft(name, selection, _part(name, selection, signature, chosen, annotated, collection), _merge_note(signature))
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
    """Names of one dataset's tasks, by default after their classes."""
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


def check_drafts(drafts: Sequence[Draft]) -> None:
    """Refuse tasks that conflict with each other.

    Raises:
        UserError: Two share a name or a whole dataset, or one has too few cases.
    """
    names: dict[str, Draft] = {}
    members: dict[str, Draft] = {}
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
                    f"{word}: expected one task for each whole dataset, {dataset} is also that of "
                    f"{members[dataset].name!r}. Remove one, or make a part of it: {dataset_number(dataset)}:labels=..."
                )
            members[dataset] = draft
        elif len(draft.part.cases) < FEWEST_CASES:
            raise UserError(
                f"{word}: expected at least {FEWEST_CASES} cases for task {draft.name!r} (one trains, one validates), "
                f"found {len(draft.part.cases)}. Name more."
            )


def _merge_note(signature: Signature) -> str:
    return "; ".join(
        f"{number} case{'s' * (number > 1)} of {'+'.join(classes)} joined: "
        f"{'+'.join(name for name in classes if name not in signature.classes)} not used there"
        for number, classes in signature.merged
    )
