"""Which class of a source each class of a network is: the knob ``init_from_classes``.

``"by_name"``: the one of the same name. ``"fresh"``: none, so that no row of a segmentation head is taken.
``{"Leber": "liver"}``: names in the network and in the source; classes that are not mentioned are matched by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from nnunet_ext.errors import UserError, nearest
from nnunet_ext.weights.roles import BACKGROUND, PREVIOUS, Roles

ClassMatching: TypeAlias = str | Mapping[str, str]
BY_NAME, FRESH = "by_name", "fresh"
EXPECTED = "'by_name', 'fresh', or names of the source by names in the data, each once"


def is_class_matching(value: Any) -> bool:
    """Whether a value of the knob is legal: :data:`EXPECTED`."""
    if not isinstance(value, dict):
        return value in (BY_NAME, FRESH)
    texts = all(isinstance(name, str) for pair in value.items() for name in pair)
    return texts and len(value) > 0 and len(set(value.values())) == len(value)


def matched_roles(theirs: Roles, ours: Roles, classes: ClassMatching, place: str) -> Roles:
    """Return the roles in the source under our names, so that rows of heads can be matched by name.

    A class of the source that has our name but is not what was named for it gets another name. The channels of a
    cascade's previous stage are renamed like the classes.

    Args:
        theirs: Roles in the source.
        ours: Roles in the network.
        classes: A value of the knob.
        place: What messages begin with.

    Raises:
        UserError: A name is not one of a class, or the classes of one side are not known.

    Example:
        >>> from nnunet_ext.weights.class_matching import matched_roles
        >>> from nnunet_ext.weights.roles import Roles
        >>> old, new = Roles(outputs=("background", "liver")), Roles(outputs=("background", "Leber"))
        >>> matched_roles(old, new, {"Leber": "liver"}, "--rename_classes").outputs
        ('background', 'Leber')
    """
    if isinstance(classes, str):
        return theirs
    for side, known in (("the source", theirs.outputs), ("the data", ours.outputs)):
        if known is None:
            raise UserError(f"{place}: expected classes of {side}, which are not known. Leave it out.")
    for side, names, known in (
        ("the data", classes.keys(), ours.outputs or ()),
        ("the source", classes.values(), theirs.outputs or ()),
    ):
        legal = [name for name in known if name != BACKGROUND]
        if wrong := [name for name in names if name not in legal]:
            raise UserError(f"{place}: unknown class {wrong[0]!r} of {side}. {nearest(wrong[0], legal)}")
    new = {source: target for target, source in classes.items()}
    taken = {name.casefold() for name in classes}

    def renamed(name: str) -> str:
        return new.get(name, f"{name} of the source" if name.casefold() in taken else name)

    outputs = tuple(renamed(name) for name in theirs.outputs or ())
    channels = theirs.channels and tuple(
        PREVIOUS + renamed(name.removeprefix(PREVIOUS)) if name.startswith(PREVIOUS) else name
        for name in theirs.channels
    )
    return Roles(channels, outputs)
