"""Worker processes whose batches arrive in order, or none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

from nnunet_ext.processes.follow_parent import children_follow

QUIET, PATIENCE = 0.25, 5.0  # seconds
VARIABLE = "nnUNet_n_proc_DA"


class _Pool(MultiThreadedAugmenter):
    """Stock pool that shuts down without tracebacks."""

    def _finish(self, timeout: int = 10, force: bool = False) -> None:
        """Stop the workers when they are idle; one that ends while its batch is received leaves a traceback."""
        if self.was_initialized and not force and not self.abort_event.is_set():
            self.pause_event.set()
            begin = last = monotonic()
            while monotonic() < min(last + QUIET, begin + PATIENCE):
                if not self.pin_memory_queue.empty():
                    self.pin_memory_queue.get_nowait()
                    last = monotonic()
                sleep(self.wait_time)
        super()._finish(timeout, force)


def ordered_pool(
    make: Callable[..., Iterator[dict[str, Any]]],
    *,
    share: int = 1,
    pin_memory: bool = False,
) -> Any:
    """Start nnU-Net's number of workers, or a part of it; with none the batches are drawn in this process.

    Args:
        make: Makes the loader when called with ``workers=``. Each worker has a copy, which is told its number by
            ``set_thread_id`` and makes every ``workers``-th batch.
        share: A ``share``-th of the workers.
        pin_memory: For transfer to a GPU.
    """
    workers = -(-get_allowed_n_proc_DA() // share)
    loader = make(workers=max(workers, 1))
    if workers == 0:
        return SingleThreadedAugmenter(loader, None)
    pool = _Pool(loader, None, workers, num_cached_per_queue=2, pin_memory=pin_memory, wait_time=0.002)
    with children_follow():
        pool._start()
    return pool


@contextlib.contextmanager
def no_workers() -> Iterator[None]:
    """``with no_workers():`` nnU-Net makes loaders that draw in this process."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
