"""What is unusual in the classes of a prediction, measured against the training labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from nnunet_ext.quality.measured_map import ClassMeasures, MeasuredMap
from nnunet_ext.quality.reason import RARE, SHOWN, Reason
from nnunet_ext.quality.robust_z import robust_z
from nnunet_ext.quality.wording import amount, few, of_cases, span

# the least spread that counts; of logarithms, but for the share of the largest piece and for places
OF_SIZE, OF_PIECES, OF_LARGEST, OF_PLACE = 0.1, 0.35, 0.05, 0.05
MISSING = 0.1  # what all of 4 training cases have and a prediction lacks is at the threshold
MIRRORED = 2.0  # z-score up to which a place is usual after mirroring
SIDES = ("lower end", "upper end", "front", "back", "right side", "left side")  # of the canonical axes
WAYS = ("from the lower to the upper end", "from front to back", "from right to left")
# of images without a place in space, such as .png
PLAIN_SIDES = ("first slice", "last slice", "upper edge", "lower edge", "left edge", "right edge")
PLAIN_WAYS = ("from the first to the last slice", "from the upper to the lower edge", "from the left to the right edge")


def class_reasons(found: MeasuredMap, training: Sequence[MeasuredMap]) -> list[Reason]:
    """Return what is unusual in the classes of a prediction.

    Args:
        found: The prediction.
        training: The training labels; without any there is no reason.

    Returns:
        Reasons of the kinds ``empty``, ``missing``, ``present``, ``volume``, ``pieces``, ``place`` and ``border``, with
        a suspicion of at least :data:`~nnunet_ext.quality.reason.SHOWN`.
    """
    if not training:
        return []
    if not any(measures.size for measures in found.classes.values()):
        return _if_shown(_empty(training))
    reasons = []
    for name, measures in found.classes.items():
        compared = [case.classes[name] for case in training if name in case.classes]
        having = [each for each in compared if each.size]
        if measures.size == 0:
            reasons += _if_shown(_missing(name, len(having), len(compared)))
            continue
        reasons += _if_shown(_present(name, len(having), len(compared)))
        if having:
            for reason in _of_present(name, measures, having, found):
                reasons += _if_shown(reason)
    return reasons


def _if_shown(reason: Reason) -> list[Reason]:
    return [reason] if reason.suspicion >= SHOWN else []


def _empty(training: Sequence[MeasuredMap]) -> Reason:
    empty = sum(not any(measures.size for measures in case.classes.values()) for case in training)
    text = f"empty: no class was found, as {of_cases(empty, len(training))}"
    return Reason("empty", text) if empty == 0 else Reason.of_event("empty", text, empty, len(training))


def _missing(name: str, having: int, cases: int) -> Reason:
    lacking = cases - having
    has = "the only training case has it" if cases == 1 else f"all {cases} training cases have it"
    seen = has if lacking == 0 else f"{lacking} of {cases} training cases lack it"
    # an organ that is always there counts sooner than another rare event
    rare = MISSING if lacking == 0 else RARE
    return Reason.of_event("missing", f"{name}: missing, {seen}{few(cases)}", lacking, cases, name, rare=rare)


def _present(name: str, having: int, cases: int) -> Reason:
    text = f"{name}: was found, as {of_cases(having, cases)}{few(cases)}"
    return Reason.of_event("present", text, having, cases, name)


def _of_present(
    name: str, found: ClassMeasures, having: Sequence[ClassMeasures], whole: MeasuredMap
) -> Iterator[Reason]:
    number, unit = few(len(having)), whole.unit
    sizes = [each.size for each in having]
    z = robust_z(math.log(found.size), [math.log(size) for size in sizes], OF_SIZE)
    text = f"{name}: {amount(found.size)} {unit}, training cases have {span(sizes, unit)}{number}"
    yield Reason.of_distance("volume", text, z, name)

    counts = [each.pieces for each in having]
    z = robust_z(math.log(found.pieces), [math.log(count) for count in counts], OF_PIECES)
    text = f"{name}: {found.pieces} separate piece{'s' * (found.pieces > 1)}, training cases have {span(counts)}"
    yield Reason.of_distance("pieces", text + number, z, name)

    shares = [each.largest for each in having]
    z = robust_z(found.largest, shares, OF_LARGEST) if found.largest < min(shares) else 0.0
    percents = span([100 * share for share in shares], "%")
    text = f"{name}: its largest piece is {amount(100 * found.largest)} % of it, in training cases {percents}{number}"
    yield Reason.of_distance("pieces", text, z, name)

    yield _place(name, found, having, in_space=whole.orientation is not None)
    yield _border(name, found, having, in_space=whole.orientation is not None)


def _place(name: str, found: ClassMeasures, having: Sequence[ClassMeasures], *, in_space: bool) -> Reason:
    axes = [[each.centre[axis] for each in having] for axis in range(3)]
    scores = [robust_z(place, places, OF_PLACE) for place, places in zip(found.centre, axes, strict=True)]
    axis = max(range(3), key=scores.__getitem__)
    way = (WAYS if in_space else PLAIN_WAYS)[axis]
    mirrored = robust_z(1 - found.centre[axis], axes[axis], OF_PLACE)
    text = (
        f"{name}: its centre is at {100 * found.centre[axis]:.0f} % of the image {way}, in training cases at "
        f"{span([round(100 * place) for place in axes[axis]], '%')}{few(len(having))}"
    )
    if mirrored < MIRRORED < scores[axis]:
        text += "; mirrored it would be in its place" + ("; left and right may be exchanged" if axis == 2 else "")
    return Reason.of_distance("place", text, scores[axis], name)


def _border(name: str, found: ClassMeasures, having: Sequence[ClassMeasures], *, in_space: bool) -> Reason:
    """Of the sides of the image that the class reaches, those that the fewest training cases reach."""
    cases = len(having)
    seen = {side: sum(each.touches[side] for each in having) for side in range(6) if found.touches[side]}
    fewest = min(seen.values(), default=cases)
    names = SIDES if in_space else PLAIN_SIDES
    sides = " and the ".join(names[side] for side, number in seen.items() if number == fewest)
    text = f"{name}: touches the image's border ({sides}), as {of_cases(fewest, cases)}{few(cases)}"
    return Reason.of_event("border", text, fewest, cases, name)
