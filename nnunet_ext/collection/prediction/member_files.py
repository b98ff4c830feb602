"""What a member's model folder holds besides weights, as it was when the collection's training began."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed

from nnunet_ext.collection.prediction.view_weights import put
from nnunet_ext.collection.task_table import SHARED, Task, TaskTable, member_plans_name
from nnunet_ext.data.dataset_json import dataset_number, read_dataset_json
from nnunet_ext.data.preprocessed.data_hash import preprocessing_hash
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_json, read_object

MEMBERS = "members"  # key of what the dataset.json of a collection's model says about them
DESCRIPTION, FINGERPRINT = "dataset.json", "dataset_fingerprint.json"


@dataclass(frozen=True, repr=False)
class MemberFiles:
    """A member's plans, dataset.json and fingerprint.

    Args:
        place: The folder that they were read from.
        plans: Its plans, which name the task.
        dataset_json: Its dataset.json.
        fingerprint: Its fingerprint.
    """

    place: Path
    plans: Mapping[str, Any]
    dataset_json: Mapping[str, Any]
    fingerprint: Mapping[str, Any]

    @classmethod
    def planned(cls, collection_plans: Mapping[str, Any], task: Task) -> MemberFiles:
        """Read them from nnUNet_preprocessed.

        Args:
            collection_plans: The collection's plans.
            task: The member's task.

        Raises:
            UserError: One is missing.
        """
        table = TaskTable.read(collection_plans)
        assert table is not None
        place = Path(str(nnUNet_preprocessed)) / task.dataset
        file = place / f"{member_plans_name(collection_plans['plans_name'], table.collection)}.json"
        files = file, place / DESCRIPTION, place / FINGERPRINT
        missing = next((needed for needed in files if not needed.is_file()), None)
        if missing is not None:
            raise UserError(
                f"{missing}: expected the {'plans' if missing == file else 'description'} of task {task.name!r}, found "
                f"no file. Plan the collection again: nnunet_ext plan_and_preprocess -d "
                f"{dataset_number(table.collection)}"
            )
        return cls(place, read_json(file), read_dataset_json(place / DESCRIPTION), read_json(place / FINGERPRINT))

    @classmethod
    def viewed(cls, view: Path) -> MemberFiles | None:
        """Read them from a task view; None if one is missing or damaged."""
        plans, *rest = (view / name for name in ("plans.json", DESCRIPTION, FINGERPRINT))
        if not all(file.is_file() for file in (plans, *rest)):
            return None
        try:
            found = cls(view, read_object(plans), read_dataset_json(rest[0]), read_object(rest[1]))
        except UserError:
            return None
        return found if "configurations" in found.plans else None

    @classmethod
    def in_model(cls, model: Path, task: Task) -> MemberFiles | None:
        """Read them from the collection's model, which is shared as one zip; None if an older version trained it."""
        file = model / DESCRIPTION
        entry = (read_json(file) if file.is_file() else {}).get(MEMBERS, {}).get(task.name)
        return cls(model, entry["plans"], entry["dataset"], entry["fingerprint"]) if entry else None

    @classmethod
    def trained(
        cls, collection_plans: Mapping[str, Any], task: Task, configuration: str, view: Path, model: Path
    ) -> MemberFiles:
        """Return those of a trained model: from its view, else from the collection's model, else as they are planned.

        Args:
            collection_plans: The plans that the model was trained with.
            task: The member's task.
            configuration: Name of the configuration.
            view: The task's view, which need not exist.
            model: The collection's model.

        Raises:
            UserError: None of these has them.
        """
        for known in (cls.viewed(view), cls.in_model(model, task)):
            if known is not None and known.fit(collection_plans, task, configuration):
                return known
        found = cls.planned(collection_plans, task)
        if found.fit(collection_plans, task, configuration) and found._has_labels_of(task, configuration):
            return found
        raise UserError(
            f"{found.place / found.plans['plans_name']}.json: expected the plans of task {task.name!r} that the model "
            f"was trained with, found others: the collection was planned again since. Restore the view {view} or the "
            f"old plans, or train again."
        )

    def fit(self, collection_plans: Mapping[str, Any], task: Task, configuration: str) -> bool:
        """Whether they were planned with the collection's plans: the same tasks, preprocessing and network.

        Args:
            collection_plans: The collection's plans.
            task: The member's task.
            configuration: Name of the configuration.
        """
        table, theirs = TaskTable.read(collection_plans), TaskTable.read(self.plans)
        assert table is not None
        return table.bound_to(task.name).fits(theirs) and self.difference(collection_plans, configuration) is None

    def difference(self, collection_plans: Mapping[str, Any], configuration: str) -> str | None:
        """Return what differs from the collection's network, as the middle of a message, or None."""
        for key in SHARED:
            ours, theirs = (found["configurations"][configuration].get(key) for found in (collection_plans, self.plans))
            if ours != theirs:
                return f"expected the collection's {key}, {ours!r}, found {theirs!r}"
        return None

    def _has_labels_of(self, task: Task, configuration: str) -> bool:
        """Whether dataset.json has the labels that the collection was planned with, which are in the task's hash."""
        if not task.preprocessing:  # planned by an older version
            return True
        return (
            preprocessing_hash(self.place, self.plans, self.plans["configurations"][configuration])
            == task.preprocessing
        )

    def as_json(self) -> dict[str, Any]:
        """Return the entry in the dataset.json of the collection's model."""
        return {"plans": self.plans, "dataset": self.dataset_json, "fingerprint": self.fingerprint}

    def write(self, view: Path) -> None:
        """Write them into a view, each atomically."""
        for name, content in (
            ("plans.json", self.plans),
            (DESCRIPTION, self.dataset_json),
            (FINGERPRINT, self.fingerprint),
        ):
            write_json(view / name, content)


def write_json(file: Path, content: Any) -> None:
    """Write a file atomically, unless it already has this content."""
    text = json.dumps(content, indent=4)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        put(file, file, (lambda _, partial: partial.write_text(text, encoding="utf-8"),))
