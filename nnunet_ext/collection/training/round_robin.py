"""Which task is validated in which step."""

from __future__ import annotations

from collections.abc import Sequence


class RoundRobin:
    """One task after the other: any ``len(tasks)`` steps in a row see them all.

    Args:
        tasks: The tasks, at least one.
    """

    def __init__(self, tasks: Sequence[int]) -> None:
        self._tasks = tuple(tasks)

    def __call__(self, step: int) -> int:
        """Return the task of a step."""
        return self._tasks[step % len(self._tasks)]
