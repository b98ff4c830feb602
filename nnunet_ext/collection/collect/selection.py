"""A member as specified for ``nnunet_ext collect``: ``4:name=front,labels=Anterior+Posterior/back,cases=FILE``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nnunet_ext.collection.label_subset import check_labels, class_values
from nnunet_ext.collection.manifest import (
    check_normalization,
    check_spacing,
    check_task_name,
    check_weight,
    normalization_classes,
)
from nnunet_ext.collection.members import check_trainable
from nnunet_ext.data.case_list import read_case_list
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError, nearest


@dataclass(frozen=True)
class Selection:
    """A dataset, or the part of it that is wanted.

    Args:
        word: As it was typed, for messages.
        dataset: The dataset.
        name: Name of the task.
        labels: Its classes and their names in the task; None: all of them.
        cases: Its cases; None: all of them.
        weight: Sampling weight of the task.
        spacing: Target spacing of the task.
        normalization: nnU-Net's normalization class for each channel.
    """

    word: str
    dataset: RawDataset
    name: str | None = None
    labels: tuple[tuple[str, str], ...] | None = None
    cases: tuple[str, ...] | None = None
    weight: float | None = None
    spacing: tuple[float, float, float] | None = None
    normalization: tuple[str, ...] | None = None


def parse_selection(word: str, find: Callable[[str], RawDataset]) -> Selection:
    """Read a member's word.

    Args:
        word: Number or name of a dataset, followed by ``:key=value,key=value`` if only part of it is wanted.
        find: Finds a dataset by number or name.

    Raises:
        UserError: The word is malformed or names something that does not exist.
    """
    head, _, tail = word.partition(":")
    selection = Selection(word, find(head))
    check_trainable(selection.dataset, word)
    seen = set()
    for setting in tail.split(",") if tail else ():
        key, equals, value = setting.partition("=")
        if not equals or not value:
            raise UserError(f"{word}: expected key=value, got {setting!r}. Legal keys: {', '.join(READERS)}.")
        if key not in READERS:
            raise UserError(f"{word}: unknown key {key!r}. {nearest(key, READERS)}")
        if key in seen:
            raise UserError(f"{word}: expected {key!r} once, got it twice. Join labels with '+'.")
        seen.add(key)
        selection = READERS[key](selection, value)
    return selection


def _name(selection: Selection, value: str) -> Selection:
    check_task_name(value, selection.word)
    return replace(selection, name=value)


def _labels(selection: Selection, value: str) -> Selection:
    legal = class_values(selection.dataset)
    pairs = []
    for text in value.split("+"):
        old, slash, new = (text, "", "") if text in legal else text.partition("/")
        pairs.append((old, new if slash else old))
    old_names = [old for old, _ in pairs]
    twice = next((name for name in old_names if old_names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{selection.word}: expected label {twice!r} once, got it twice. Remove one.")
    check_labels(dict(pairs), selection.dataset, selection.word)
    return replace(selection, labels=tuple(pairs))


def _cases(selection: Selection, value: str) -> Selection:
    legal = {case.name for case in selection.dataset.cases()}
    cases = read_case_list(Path(value), legal, selection.dataset.folder.name, selection.word)
    return replace(selection, cases=cases)


def _weight(selection: Selection, value: str) -> Selection:
    return replace(selection, weight=check_weight(_number(value), f"{selection.word}: 'weight'"))


def _spacing(selection: Selection, value: str) -> Selection:
    numbers = [_number(text) for text in value.split("x")]
    place = f"{selection.word}: 'spacing', written as 3x1.5x1.5"
    return replace(selection, spacing=check_spacing(numbers, place))


def _normalization(selection: Selection, value: str) -> Selection:
    from nnunetv2.preprocessing.normalization.map_channel_name_to_normalization import (
        channel_name_to_normalization_mapping,
    )

    legal = {word: found.__name__ for word, found in channel_name_to_normalization_mapping.items()}
    legal |= {name.casefold(): name for name in normalization_classes()}
    words = value.split("+")
    for word in words:
        if word.casefold() not in legal:
            raise UserError(f"{selection.word}: unknown normalization {word!r}. {nearest(word, legal)}")
    classes = [legal[word.casefold()] for word in words]
    channels = len(selection.dataset.channel_names)
    if len(classes) not in (1, channels):
        raise UserError(
            f"{selection.word}: expected one normalization, or one for each of {channels} channels joined with '+', "
            f"got {len(classes)}. Correct it."
        )
    classes *= channels if len(classes) == 1 else 1
    return replace(selection, normalization=check_normalization(classes, selection.word))


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


READERS: dict[str, Callable[[Selection, str], Selection]] = {
    "name": _name,
    "labels": _labels,
    "cases": _cases,
    "weight": _weight,
    "spacing": _spacing,
    "normalization": _normalization,
}
