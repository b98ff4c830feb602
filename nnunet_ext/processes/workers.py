"""Functions that are called for many jobs, in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from types import TracebackType
from typing import TypeVar

from nnunet_ext.processes.follow_parent import follow_parent

Job = TypeVar("Job")
Result = TypeVar("Result")


class Workers:
    """Spawned processes, which are started when they are needed and end with the ``with`` statement.

    Args:
        processes: At most; with one, calls are made in this process.

    Example:
        >>> with Workers(1) as workers:
        ...     list(workers.each(abs, [-1, 2]))
        [1, 2]
    """

    def __init__(self, processes: int) -> None:
        self._pool = None
        if processes > 1:
            self._pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), follow_parent)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def each(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
        """Call a function for each job and yield what it returns, in the order in which calls end.

        Args:
            function: It and its jobs are sent to the processes, so they must pickle.
            jobs: Each is handled by one call.

        Raises:
            BrokenProcessPool: A process was killed, for example because memory was short.
        """
        if self._pool is None:
            yield from map(function, jobs)
            return
        for call in as_completed([self._pool.submit(function, job) for job in jobs]):
            yield call.result()
