"""The cases that a sequential fine-tuning trains on: new data and buffer."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.errors import UserError
from nnunet_ext.methods.sequential_fine_tuning.buffer import Cases, read_buffer, without


@dataclass(frozen=True)
class TrainingCases:
    """New data and buffer, without the cases that the fold validates on.

    Args:
        new: Of each folder the cases of the new data.
        buffer: Those of the buffer.
        left_out: How many of each were left out because the fold validates on them.
    """

    new: list[Cases]
    buffer: list[Cases]
    left_out: tuple[int, int]

    @classmethod
    def choose(cls, task: Cases, files: Sequence[str] | None, training: Cases, validation: Cases) -> TrainingCases:
        """Return the cases; the earlier task is scored on the validation cases, so they are left out.

        Args:
            task: The new data.
            files: The buffer's files; None: the buffer is ``training``.
            training: The fold's training cases.
            validation: Its validation cases.

        Raises:
            UserError: A file is no buffer, or nothing is left of the new data or of the buffer.
        """
        seen = set(training.names)  # the fold "all" validates on them
        unseen = Cases(validation.place, tuple(name for name in validation.names if name not in seen))
        earlier = [training] if files is None else [read_buffer(_path(file)) for file in files]
        new, new_left_out = without([task], unseen)
        buffer, left_out = without(earlier, unseen)
        if not new:
            raise UserError(
                f"{task.place}: expected new data that the fold does not validate on, found none. Train the fold that "
                f"the model of the knob 'sequential_fine_tuning.task_model' was trained on."
            )
        if not buffer:
            raise UserError(
                f"{', '.join(files or ())}: expected a case that the fold does not validate on, found none. Choose "
                f"more with nnunet_ext select_similar -k, or train another fold."
            )
        return cls(new, buffer, (new_left_out, left_out))

    def lines(self) -> list[str]:
        """Return what the log tells."""
        told = []
        for name, groups, left_out in zip(("New data", "Buffer"), (self.new, self.buffer), self.left_out, strict=True):
            count, places = sum(len(group.names) for group in groups), ", ".join(str(group.place) for group in groups)
            told.append(f"{name}: {_counted(count)} of {places}")
            if left_out:
                told.append(f"{name}: {_counted(left_out)} left out, on which this fold validates")
        return told

    def digest(self) -> str:
        """Return a hash of datasets, plans and names, wherever the data are."""
        content = [
            [(*group.place.parts[-2:], sorted(group.names)) for group in groups] for groups in (self.new, self.buffer)
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _counted(cases: int) -> str:
    return f"{cases} case{'s' * (cases != 1)}"


def _path(file: str) -> Path:
    return Path(os.path.expandvars(file)).expanduser()
