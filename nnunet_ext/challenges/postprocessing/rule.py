"""What a rule of post-processing does to one structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from nnunet_ext.errors import UserError

Kind = Literal["minimum_volume", "touching", "largest"]
MINIMUM_VOLUME: Final = "minimum_volume"
TOUCHING: Final = "touching"
LARGEST: Final = "largest"


@dataclass(frozen=True)
class Rule:
    """Which components of a structure are kept.

    Args:
        structure: Its name.
        kind: ``minimum_volume``: those with at least this volume; ``touching``: those with a neighbour, corners
            included, in another structure; ``largest``: the largest ones.
        value: The volume in mm3 (mm2 in a 2d image), the other structure's name, or how many are kept.

    Example:
        >>> Rule("tumor", "touching", "kidney").words
        'keep components that touch kidney'
    """

    structure: str
    kind: Kind
    value: float | str

    @classmethod
    def of(cls, content: Any, structures: Mapping[str, tuple[int, ...]], where: str) -> Rule:
        """Read a rule that :meth:`as_json` wrote.

        Args:
            content: Of the file.
            structures: The labels of all structures by name.
            where: The file, for messages.

        Raises:
            UserError: It is no rule for these structures.
        """
        found = content if isinstance(content, dict) else {}
        structure, kind = str(found.get("structure")), found.get("kind")
        value = found.get(kind) if isinstance(kind, str) else None
        legal = {
            MINIMUM_VOLUME: isinstance(value, int | float) and not isinstance(value, bool) and value > 0,
            TOUCHING: isinstance(value, str) and value in structures and value != structure,
            LARGEST: isinstance(value, int) and not isinstance(value, bool) and value > 0,
        }
        if structure not in structures or not legal.get(str(kind), False):
            raise UserError(
                f"{where}: expected rules for {', '.join(structures)}, each with a minimum_volume, a structure that it "
                f"is touching, or a number of largest components, found {content!r}. Learn the rules again."
            )
        return cls(structure, cast(Kind, kind), cast("float | str", value))

    def as_json(self) -> dict[str, Any]:
        """Return what :meth:`of` reads."""
        return {"structure": self.structure, "kind": self.kind, self.kind: self.value}

    @property
    def words(self) -> str:
        """What the rule does, without the structure's name."""
        if self.kind == MINIMUM_VOLUME:
            return f"drop components below {self.value:g} mm3"
        if self.kind == TOUCHING:
            return f"keep components that touch {self.value}"
        return "keep the largest component" if self.value == 1 else f"keep the {self.value} largest components"
