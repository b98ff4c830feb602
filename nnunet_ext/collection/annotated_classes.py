"""Cases of one dataset that were annotated for different classes, sorted by what was annotated.

``dataset.json`` may say so case by case: ``"annotated": {"case_1": ["liver"], "case_2": ["liver", "spleen"]}``. A case
that is not mentioned was annotated for all classes. Cases that agree have the same *signature*; each signature becomes
a task, in which a class that was not annotated is never trained as background.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from nnunet_ext.collection.label_subset import class_values
from nnunet_ext.data.dataset_json import ANNOTATED, HIDDEN, TEST, annotated_in_cases, dataset_number, scored_names
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError, more

FEWEST_CASES = 5


@dataclass(frozen=True)
class Signature:
    """Classes that were annotated in the same cases.

    Args:
        classes: Names in the dataset's order.
        cases: Names of the cases.
        merged: Number of these cases in which more was annotated than this, and what.
    """

    classes: tuple[str, ...]
    cases: tuple[str, ...]
    merged: tuple[tuple[int, tuple[str, ...]], ...] = ()


def annotated_classes(dataset: RawDataset, cases: Collection[str]) -> dict[str, frozenset[str]]:
    """Return the classes that were annotated in each of these cases.

    Raises:
        UserError: ``annotated`` in dataset.json names an unknown case or class, or none for one of these cases.
    """
    classes = class_values(dataset)
    known = {case.name for case in dataset.cases()} | _scored(dataset)
    entries = annotated_in_cases(dataset.description, known, classes, str(dataset.file))
    everything = frozenset(classes)
    found = {case: entries.get(case, everything) for case in cases}
    empty = [case for case, names in found.items() if not names]
    if empty:
        raise UserError(
            f"{dataset.file}: 'annotated': expected at least one class of case {empty[0]!r}, found none. Name what was "
            f"annotated, or leave the case out with cases=FILE."
        )
    return found


def check_fully_annotated(dataset: RawDataset, place: str) -> None:
    """Refuse a whole dataset as a member if some of its cases were annotated for only some of its classes.

    Args:
        dataset: The dataset.
        place: What the message begins with.

    Raises:
        UserError: An organ that nobody annotated would be trained as background.
    """
    if not dataset.description.get(ANNOTATED):
        return
    classes = class_values(dataset)
    found = annotated_classes(dataset, [case.name for case in dataset.cases()])
    partly = sorted(case for case, names in found.items() if len(names) < len(classes))
    if partly:
        missing = ", ".join(name for name in classes if name not in found[partly[0]])
        raise UserError(
            f"{place}: expected a member whose cases were all annotated for all classes, found case {partly[0]!r} of "
            f"{dataset.folder.name} not annotated for {missing}{more(len(partly) - 1)}. Let nnunet_ext collect make a "
            f"task of each set of classes: nnunet_ext collect -d ... -n ... {dataset_number(dataset.folder.name)}"
        )


def signatures(
    dataset: RawDataset, annotated: Mapping[str, frozenset[str]], wanted: Iterable[str], place: str
) -> list[Signature]:
    """Sort cases by what was annotated in them.

    The few cases of a rare signature go to the largest part of it that has cases enough; the rest of what was annotated
    there becomes background, which is correct because that task predicts only its own classes.

    Args:
        dataset: Their dataset.
        annotated: The classes that were annotated in each case.
        wanted: The only classes that count; a case without any is left out.
        place: What messages begin with.

    Raises:
        UserError: A rare signature has no such part.
    """
    order = [name for name in class_values(dataset) if name in set(wanted)]
    cases: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for case, names in annotated.items():
        signature = tuple(name for name in order if name in names)
        if signature:
            cases[signature].append(case)
    if not cases:
        raise UserError(
            f"{place}: expected cases of {dataset.folder.name} that were annotated for {', '.join(order)}, found none. "
            f"Correct 'annotated' in its dataset.json, or choose other labels."
        )
    if len(cases) == 1:  # nothing to merge with: how many cases a member needs is checked elsewhere
        return [Signature(classes, tuple(own)) for classes, own in cases.items()]
    enough = {signature: list(own) for signature, own in cases.items() if len(own) >= FEWEST_CASES}
    merged: dict[tuple[str, ...], list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
    for signature in sorted(cases.keys() - enough.keys()):
        target = _nearest(signature, cases, enough, dataset, place)
        enough[target] += cases[signature]
        merged[target].append((len(cases[signature]), signature))
    return [
        Signature(classes, tuple(sorted(enough[classes])), tuple(sorted(merged[classes])))
        for classes in sorted(enough, key=lambda classes: (len(classes), [order.index(name) for name in classes]))
    ]


def _scored(dataset: RawDataset) -> set[str]:
    """Cases of a copy with hidden labels that are only scored."""
    return scored_names(dataset.description, HIDDEN) | scored_names(dataset.description, TEST)


def _nearest(
    signature: tuple[str, ...],
    cases: Mapping[tuple[str, ...], list[str]],
    enough: Mapping[tuple[str, ...], list[str]],
    dataset: RawDataset,
    place: str,
) -> tuple[str, ...]:
    parts = [other for other in enough if set(other) < set(signature)]
    if not parts:
        number = len(cases[signature])
        raise UserError(
            f"{place}: expected at least {FEWEST_CASES} cases annotated for exactly {', '.join(signature)}, or some of "
            f"these only, found {number} in {dataset.folder.name} (as {cases[signature][0]!r}). Annotate more or leave "
            f"{'it' if number == 1 else 'them'} out with cases=FILE or labels=NAME+NAME."
        )
    return max(parts, key=lambda part: (len(part), len(cases[part]), part))
