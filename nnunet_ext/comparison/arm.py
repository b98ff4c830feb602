"""One thing that ``nnunet_ext compare`` compares: a trainer with knobs, under a name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from nnunet_ext.errors import UserError


@dataclass(frozen=True)
class Arm:
    """A trainer, the knobs in which it differs from the plans, and a name for tables.

    Args:
        name: For tables and, without characters that a file name cannot have (:attr:`slug`), for files.
        trainer: What ``-tr`` takes.
        knobs: ``KEY=VALUE``.
    """

    name: str
    trainer: str
    knobs: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Arm:
        """Read ``[NAME=]TRAINER[:KNOB=VALUE+KNOB=VALUE]``; without a name the text itself is the name.

        Raises:
            UserError: The text has another form.
        """
        head, colon, knobs = text.partition(":")
        name, _, trainer = head.rpartition("=")
        words = tuple(re.split(r"\+(?=[a-z_][\w.]*=)", knobs)) if colon else ()
        arm = cls((name or text).strip(), trainer.strip(), words)
        if not arm.trainer or not arm.slug or not all("=" in word for word in words):
            raise UserError(
                f"-tr {text!r}: expected [NAME=]TRAINER[:KNOB=VALUE+KNOB=VALUE]. Example: "
                f"'one pass=LeFeDTrainer:lefed.passes=1'."
            )
        if any(word.startswith("seed=") for word in words):
            raise UserError(f"-tr {text!r}: expected no seed, because all arms share them. Give them after --seeds.")
        return arm

    @property
    def slug(self) -> str:
        """The name as part of a file's name."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.name).strip("-.")


def parse_arms(texts: Iterable[str]) -> list[Arm]:
    """Read several.

    Raises:
        UserError: One is malformed, or two would share files.
    """
    found: dict[str, Arm] = {}
    for text in texts:
        arm = Arm.parse(text)
        if arm.slug in found:
            raise UserError(
                f"-tr: expected names that differ in letters or digits, got {found[arm.slug].name!r} and "
                f"{arm.name!r}. Rename one: NAME=TRAINER."
            )
        found[arm.slug] = arm
    return list(found.values())
