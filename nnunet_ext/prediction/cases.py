"""Several cases: the next one is read, and the last one written, while the network works."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from tqdm import tqdm

from nnunet_ext.data.image_case import Case
from nnunet_ext.errors import one_line
from nnunet_ext.prediction.sliding_window import Progress
from nnunet_ext.prediction.stages import LabelledCase, Stages
from nnunet_ext.processes.made_ahead import made_ahead
from nnunet_ext.processes.process_memory import process_memory

logger = logging.getLogger(__name__)
STAGES = ("reading", "resampling", "network", "export")


@dataclass
class CaseResult:
    """What became of a case.

    Args:
        name: The case.
        file: Its label map.
        seconds: Of each of :data:`STAGES` that was done; export includes writing. They overlap between cases.
        memory: Most bytes of memory that the process has used so far; None where the system does not count them.
        gpu_memory: Most bytes of the GPU's memory that torch has used so far; None without a GPU.
        problem: One line if it failed, else None.
        facts: What else is to be told of the case, by name.
    """

    name: str
    file: Path
    seconds: dict[str, float] = field(default_factory=dict)
    memory: int | None = None
    gpu_memory: int | None = None
    problem: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def predict_cases(
    stages: Stages,
    cases: Sequence[Case],
    file_of: Callable[[Case], Path],
    *,
    read_ahead: bool = True,
    write_behind: bool = True,
    show_progress: bool = True,
) -> list[CaseResult]:
    """Predict cases and write their label maps; one that fails is logged in one line, and the others go on.

    Args:
        stages: What is done with a case.
        cases: The cases.
        file_of: Returns a case's label map.
        read_ahead: Read and preprocess the next case, in a thread, while the network works on this one.
        write_behind: Write the last label map, in a thread, while the network works on the next case.
        show_progress: Show a bar over cases and one over the windows of a case, with the time left.

    Returns:
        A result for each case, in order.
    """
    results = [CaseResult(case.name, file_of(case)) for case in cases]
    images = [case.images for case in cases]
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=len(cases), desc="cases", unit="case", disable=not show_progress))
        writer = stack.enter_context(ThreadPoolExecutor(1)) if write_behind else None
        last: Future[None] | None = None
        prepared = stack.enter_context(contextlib.closing(made_ahead(stages.prepare, images, ahead=read_ahead)))
        for result, made in zip(results, prepared, strict=True):
            labelled = None
            with _noting(result):
                case = made()
                result.seconds |= {"reading": case.reading, "resampling": case.resampling}
                with window_bar(result.name, show=show_progress) as progress:
                    labelled = stages.label(case, progress)
                result.seconds |= {"network": labelled.network, "export": labelled.export}
                result.facts = labelled.facts
                if result.facts:
                    logger.info("case %s: %s", result.name, ", ".join(f"{k} {v}" for k, v in result.facts.items()))
            if last is not None:
                last.result()  # no more than one label map waits
            if labelled is None:
                bar.update()
            elif writer is None:
                _write(stages, labelled, case.properties, result, bar)
            else:
                last = writer.submit(_write, stages, labelled, case.properties, result, bar)
        if last is not None:
            last.result()
    return results


def _write(
    stages: Stages, labelled: LabelledCase, properties: Mapping[str, Any], result: CaseResult, bar: tqdm
) -> None:
    start = perf_counter()
    with _noting(result):
        stages.write(labelled.labels, properties, result.file)
    result.seconds["export"] += perf_counter() - start
    result.memory, result.gpu_memory = _peaks(stages.window.device)
    bar.update()


@contextlib.contextmanager
def _noting(result: CaseResult) -> Iterator[None]:
    """Note the error that a case ends with: whatever is wrong with one case must not end the prediction of others."""
    try:
        yield
    except Exception as error:
        result.problem = one_line(error)
        logger.error("case %s was not predicted: %s", result.name, result.problem)
        logger.debug("case %s", result.name, exc_info=True)


@contextlib.contextmanager
def window_bar(name: str, *, show: bool = True) -> Iterator[Progress]:
    """Show a bar below the one over cases; it starts again if the windows do.

    Args:
        name: The case.
        show: Show it.

    Yields:
        What to call after each window with the number of windows done and of all.
    """
    with tqdm(desc=name, unit="window", leave=False, position=1, disable=not show) as bar:

        def progress(done: int, windows: int) -> None:
            bar.total = windows
            bar.update(done - bar.n)

        yield progress


def _peaks(device: torch.device) -> tuple[int | None, int | None]:
    gpu = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    memory = process_memory()
    return None if memory is None else memory.peak, gpu
