"""Threads in place of worker processes."""

from __future__ import annotations

from multiprocessing.pool import ThreadPool
from typing import Any


class ThreadContext:
    """A multiprocessing context whose pools are threads: a spawned worker imports for ten seconds."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def Pool(self, processes: int | None = None, *_: Any, **__: Any) -> ThreadPool:  # noqa: N802
        return ThreadPool(processes)
