"""Worker processes of preprocessing: ours, one case after another, and those that nnU-Net starts."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from nnunet_ext.data.image_case import Case
from nnunet_ext.errors import UserError
from nnunet_ext.processes.follow_parent import follow_parent

OF_KILLED_WORKER = "6 feet under"  # nnU-Net's wording


def write_all(
    write: Callable[[Case], None], cases: Sequence[Case], processes: int, title: str, place: Path, *, progress: bool
) -> None:
    """Call a function for each case, in processes with one thread each.

    Args:
        write: Writes a case; can be pickled.
        cases: The cases.
        processes: Worker processes; 1 stays in this process, with all its threads.
        title: Of the progress bar.
        place: What is written, for the message.
        progress: Show the progress bar.

    Raises:
        UserError: A worker was killed.
    """
    try:
        for _ in tqdm(_written(write, cases, min(processes, len(cases))), title, len(cases), disable=not progress):
            pass
    except BrokenProcessPool as error:
        raise _killed(place, processes, "-np") from error


@contextlib.contextmanager
def stock_workers(place: Path, processes: int, option: str) -> Iterator[None]:
    """``with stock_workers(folder, 4, "-np"):`` call nnU-Net; a worker that is killed is reported in one line.

    Raises:
        UserError: One was.
    """
    try:
        yield
    except RuntimeError as error:
        if OF_KILLED_WORKER not in str(error):
            raise
        raise _killed(place, processes, option) from error


def _killed(place: Path, processes: int, option: str) -> UserError:
    return UserError(
        f"{place}: expected to preprocess with {processes} processes, one was killed: there is probably too little "
        f"memory. Run it again with {option} 1: without --clean, what is done is kept."
    )


def _written(write: Callable[[Case], None], cases: Sequence[Case], processes: int) -> Iterator[None]:
    """Write cases, and yield after each."""
    if processes <= 1:
        yield from map(write, cases)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _take_one_thread) as pool:
        jobs = [pool.submit(write, case) for case in cases]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _take_one_thread() -> None:
    """Limit the worker to one thread (each would take as many as there are cores), and let it end with its parent."""
    import scipy.linalg  # noqa: F401  # numpy's and scipy's libraries must be loaded to be limited
    import torch
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    torch.set_num_threads(1)
    follow_parent()
