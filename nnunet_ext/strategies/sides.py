"""Classes that come in a left and a right."""

from __future__ import annotations

import re
from collections.abc import Iterable

OTHER = {"left": "right", "l": "r"}
LEFT = re.compile(r"(?<![a-z0-9])(left|l)(?![a-z0-9])")


def sides(classes: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of classes whose names differ in left and right only.

    Mirroring turns one into the other, so a network that is trained with it cannot tell them apart by their place.

    Args:
        classes: Their names.

    Example:
        >>> sides(["Eye_L", "Eye_R", "right kidney", "left kidney", "KidneyLeft", "Larynx", "L5", "S_L"])
        [('Eye_L', 'Eye_R'), ('left kidney', 'right kidney')]
    """
    plain = {re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower(): name for name in classes}
    others = {name: LEFT.sub(lambda found: OTHER[found[1]], name) for name in plain}
    return [(plain[name], plain[other]) for name, other in others.items() if other != name and other in plain]
