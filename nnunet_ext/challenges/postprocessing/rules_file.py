"""The file of learned rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.challenges.challenge import READER, Challenge
from nnunet_ext.challenges.postprocessing.rule import Rule
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_object

FORMAT = 1


@dataclass(frozen=True)
class RulesFile:
    """Rules, and the label maps that they are for.

    Args:
        challenge: Name of the challenge, or ``custom``.
        structures: The labels of all structures by name.
        rules: In the order in which they are applied.
        ending: Of label maps.
        reader: Name of nnU-Net's reader; None: nnU-Net chooses it by the first file.
        dataset_labels: ``labels`` of the dataset.json beside the predictions that they were learned from; None if
            there was none.
    """

    challenge: str
    structures: Mapping[str, tuple[int, ...]]
    rules: tuple[Rule, ...]
    ending: str
    reader: str | None
    dataset_labels: Mapping[str, Any] | None

    @classmethod
    def of(cls, challenge: Challenge, rules: tuple[Rule, ...], dataset_labels: Mapping[str, Any] | None) -> RulesFile:
        """Put learned rules together with what they need.

        Args:
            challenge: They were learned for.
            rules: In order.
            dataset_labels: ``labels`` of the dataset.json beside the predictions.
        """
        structures = {each.name: each.labels for each in challenge.structures}
        return cls(challenge.name, structures, rules, challenge.ending, challenge.reader, dataset_labels)

    @classmethod
    def read(cls, file: Path) -> RulesFile:
        """Read a file that ``nnunet_ext postprocess learn`` wrote.

        Raises:
            UserError: It is another file, or was edited into no rules.
        """
        found = read_object(file)
        keys = {"challenge", "structures", "rules", "file_ending", READER, "dataset_labels"}
        known, rules = found.get("structures"), found.get("rules")
        labelled = isinstance(known, dict) and all(isinstance(labels, list) for labels in known.values())
        if found.get("format") != FORMAT or not keys <= set(found) or not (labelled and isinstance(rules, list)):
            raise UserError(
                f"{file}: expected rules of nnunet_ext postprocess learn, format {FORMAT}, found another file. Check "
                f"the path, or learn them again."
            )
        structures = {name: tuple(labels) for name, labels in found["structures"].items()}
        rules = tuple(Rule.of(each, structures, str(file)) for each in found["rules"])
        return cls(found["challenge"], structures, rules, found["file_ending"], found[READER], found["dataset_labels"])

    def as_json(self) -> dict[str, Any]:
        """Return what :meth:`read` reads."""
        return {
            "format": FORMAT,
            "challenge": self.challenge,
            "structures": {name: list(labels) for name, labels in self.structures.items()},
            "rules": [rule.as_json() for rule in self.rules],
            "file_ending": self.ending,
            READER: self.reader,
            "dataset_labels": self.dataset_labels,
        }

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels that may occur."""
        return tuple(sorted({label for labels in self.structures.values() for label in labels}))

    def check(self, dataset_json: Mapping[str, Any], where: Path) -> None:
        """Refuse predictions of a dataset with other labels.

        Args:
            dataset_json: Of the predictions.
            where: The file, for messages.

        Raises:
            UserError: Labels or file ending differ.
        """
        labels, ending = dataset_json.get("labels"), dataset_json.get("file_ending")
        if self.dataset_labels is not None and labels != self.dataset_labels:
            raise UserError(
                f"{where}: expected the labels that the rules were learned for, {self.dataset_labels}, found {labels}. "
                f"Learn rules for this dataset."
            )
        if ending != self.ending:
            raise UserError(
                f"{where}: expected file_ending {self.ending!r}, as the rules were learned for, found {ending!r}. "
                f"Learn rules for this dataset."
            )
