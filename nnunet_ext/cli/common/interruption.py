"""How every command ends on Ctrl-C (SIGINT), SIGTERM and SIGHUP: one line, exit code 128 + signal, no worker left.

Ctrl-C reaches all processes of a terminal's job, and each worker would print a traceback. So SIGINT is blocked here,
which processes started later inherit, and a separate thread waits for it. It interrupts the main thread, which unwinds:
partial files are removed, locks released, pools closed. Processes that still run then are ended by their ids. If the
main thread does not come back (a long call into C, a library that waits for its threads), everything is ended after
``GRACE`` seconds, or at once by a second signal; files stay intact, because they are renamed into place.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from nnunet_ext.processes.follow_parent import end_with_forking_process

GRACE = 10.0  # seconds for the main thread to unwind
WORKERS_GRACE = 2.0  # seconds for workers to end on SIGTERM
# removes semaphores of workers that were ended; ends with us
TRACKER = b"multiprocessing.resource_tracker"
_active: Interruption | None = None
_forking = threading.local()  # the signals that a thread blocked before its fork


class Interrupted(KeyboardInterrupt):
    """A signal ends the command."""


class Interruption:
    """What signals do while a command runs.

    Args:
        advice: End of the line that is printed, such as ``Run the same command again to resume.``
        workers: The command starts worker processes.
    """

    def __init__(self, advice: str, *, workers: bool = False) -> None:
        self.advice = advice
        self._workers = workers
        self.signum: int | None = None
        self._raised = False
        self._told = False
        self._over = threading.Event()
        self._elsewhere = set(_descendants())
        self._listener: threading.Thread | None = None
        self._handlers: dict[int, Any] = {}
        self._hooks = threading.excepthook, sys.unraisablehook

    @property
    def code(self) -> int:
        """Exit code."""
        return 128 + (self.signum or signal.SIGINT)

    @property
    def line(self) -> str:
        """The line to print."""
        return f"nnunet_ext: interrupted ({signal.Signals(self.signum or signal.SIGINT).name}). {self.advice}"

    def listen(self) -> None:
        """Handle the signals from now on; one that is ignored (``nohup``, a job in the background) stays ignored."""
        if self._workers:
            _start_tracker()
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._handle)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN and hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            main = threading.get_ident()
            self._listener = threading.Thread(target=self._wait_for_ctrl_c, args=(main,), daemon=True)
            self._listener.start()

    def stop(self) -> None:
        """Handle no more signals."""
        self._over.set()
        threading.excepthook, sys.unraisablehook = self._hooks
        if self._listener is not None and self._listener.ident is not None:
            signal.pthread_kill(self._listener.ident, signal.SIGINT)  # wakes it
            self._listener.join()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def close(self) -> None:
        """End what the command left running and print the line; for the main thread, after it has unwound."""
        _end(self._left)
        print(f"\n{self.line}", file=sys.stderr, flush=True)
        self._told = True

    def _wait_for_ctrl_c(self, main_thread: int) -> None:
        while True:
            signal.sigwait({signal.SIGINT})
            if self._over.is_set():
                return
            if self.signum is not None:
                self._end_at_once()
            self._begin(signal.SIGINT)
            signal.pthread_kill(main_thread, signal.SIGTERM)  # its handler runs in the main thread

    def _handle(self, signum: int, _: FrameType | None) -> None:
        if self._raised:
            self._end_at_once()
        self._raised = True
        if self.signum is None:
            self._begin(signum)
        raise Interrupted

    def _begin(self, signum: int) -> None:
        self.signum = signum
        threading.excepthook = _silent  # how the other threads end does not matter
        sys.unraisablehook = _silent
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        if not self._over.wait(GRACE):
            self._end_at_once()

    def _end_at_once(self) -> None:
        for pid in self._left():
            _kill(pid, signal.SIGKILL)
        if not self._told:
            with contextlib.suppress(OSError):
                os.write(2, f"\n{self.line}\n".encode(errors="replace"))
        os._exit(self.code)

    def _left(self) -> set[int]:
        return set(_descendants()) - self._elsewhere


@contextlib.contextmanager
def interruptible(advice: str, *, workers: bool = False, process_ends: bool = False) -> Iterator[Interruption]:
    """``with interruptible("..."):`` signals interrupt what runs in here, if this is the main thread.

    Args:
        advice: What to do after an interruption.
        workers: Worker processes are started.
        process_ends: The process ends afterwards; after a signal, within ``GRACE`` seconds.
    """
    global _active
    interruption = Interruption(advice, workers=workers)
    if threading.current_thread() is not threading.main_thread() or _active is not None:
        yield interruption
        return
    interruption.listen()
    _active = interruption
    try:
        yield interruption
    finally:
        if not process_ends or interruption.signum is None:  # else it has GRACE seconds to end, and may still fork
            _active = None
            interruption.stop()


def _start_tracker() -> None:
    """Start multiprocessing's tracker, which would unblock SIGINT when it starts, and end by SIGHUP before us."""
    if not hasattr(signal, "SIGHUP"):
        return
    from multiprocessing import resource_tracker

    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it inherits this
    try:
        resource_tracker.ensure_running()
    finally:
        signal.signal(signal.SIGHUP, handler)


def _silent(_: Any) -> None:
    """Report nothing."""


def _end(left: Callable[[], set[int]]) -> None:
    """End processes and what they start meanwhile, as a pool replaces its workers."""
    end = time.monotonic() + WORKERS_GRACE
    asked: set[int] = set()
    while (pids := left()) and time.monotonic() < end:
        for pid in pids - asked:
            _kill(pid, signal.SIGTERM)
        asked |= pids
        time.sleep(0.02)
    for pid in pids:
        _kill(pid, signal.SIGKILL)


def _kill(pid: int, signum: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signum)


def _descendants() -> list[int]:
    """Return the running processes that this one or its children started, except multiprocessing's tracker."""
    if not Path("/proc/self/stat").exists():
        return [child.pid for child in multiprocessing.active_children() if child.pid is not None]
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                words = Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2].split()
                if words[0] not in "ZX" and TRACKER not in Path(entry.path, "cmdline").read_bytes():
                    children.setdefault(int(words[1]), []).append(int(entry.name))
    found = []
    parents = [os.getpid()]
    while parents:
        young = children.get(parents.pop(), [])
        found += young
        parents += young
    return found


def _before_fork() -> None:
    """Keep signals waiting: one that a worker gets while it still has our handlers would be lost."""
    if _active is not None:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _active._handlers)


def _after_fork_in_parent() -> None:
    if (mask := vars(_forking).pop("mask", None)) is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork() -> None:
    """Let a forked worker end on signals as if they were not handled, and with its parent; SIGINT stays blocked."""
    global _active
    if _active is not None:
        end_with_forking_process()
        for number in _active._handlers:
            signal.signal(number, signal.SIG_DFL)
        _active = None
    _after_fork_in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork)
