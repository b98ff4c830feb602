"""Processes that end when the one that started them does, even if that is killed (SIGKILL, memory, job limit).

nnU-Net's loader workers put batches into a queue forever; those of a killed training would never end.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

SPAWNED = "--multiprocessing-fork"  # in the command line of a spawned worker
POLL_SECONDS = 0.05
SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux
_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
_following = 0  # how many with-statements are open
_forking = 0  # the process that forked last


def end_with_parent(signum: int = signal.SIGKILL) -> None:
    """Let the kernel send this process a signal when the thread that forked it ends; Linux only."""
    if _libc is not None:
        _libc.prctl(SET_DEATH_SIGNAL, int(signum), 0, 0, 0)


def end_with_forking_process() -> None:
    """In a process that was just forked: end when the thread that forked it does; Linux only."""
    end_with_parent()
    if os.getppid() != _forking:  # it ended before the kernel knew
        os._exit(1)


@contextlib.contextmanager
def children_follow() -> Iterator[None]:
    """``with children_follow():`` processes that are forked in here end with this one; Linux only.

    Only for forks of the main thread: a child also ends with the thread that forked it.
    """
    global _following
    _following += threading.current_thread() is threading.main_thread()
    try:
        yield
    finally:
        _following -= threading.current_thread() is threading.main_thread()


def follow_parent() -> None:
    """In a worker that ``multiprocessing`` spawned, while it imports: end when the parent does. Elsewhere: nothing."""
    if SPAWNED in sys.orig_argv:
        threading.Thread(target=_outlive_nobody, daemon=True, name="follow_parent").start()


def _outlive_nobody() -> None:
    while (parent := multiprocessing.parent_process()) is None:  # known after the imports
        time.sleep(POLL_SECONDS)
    parent.join()
    os._exit(1)


def _before_fork() -> None:
    global _forking
    _forking = os.getpid()


def _after_fork() -> None:
    global _following
    if _following:
        _following = 0
        end_with_forking_process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
