"""The stages of a prediction: reading and preprocessing, network and export, writing."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

import torch
from nnunetv2.configuration import default_num_processes
from nnunetv2.utilities.helpers import empty_cache
from numpy.typing import NDArray
from torch import Tensor

from nnunet_ext.files.label_file import write_label_map
from nnunet_ext.prediction.full_gpu import gpu_is_full
from nnunet_ext.prediction.label_map import label_map
from nnunet_ext.prediction.prepared_case import PreparedCase
from nnunet_ext.prediction.sliding_window import Progress, SlidingWindow

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass
class Stages:
    """What is done with a case; each stage may run in another thread.

    Args:
        window: The sliding window with the model.
        on_device: Keep image and sums of logits on the GPU while they fit.
        check: Refuse damaged NIfTI files.
    """

    window: SlidingWindow
    on_device: bool
    check: bool = True

    def prepare(self, files: Sequence[Path]) -> PreparedCase:
        """Read and preprocess a case; see :meth:`PreparedCase.from_files`."""
        return PreparedCase.from_files(self.window.model, files, check=self.check)

    def prepare_array(self, image: NDArray[Any], spacing: Sequence[float]) -> PreparedCase:
        """Preprocess an image in memory; see :meth:`PreparedCase.from_array`."""
        return PreparedCase.from_array(self.window.model, image, spacing)

    def label(self, case: PreparedCase, progress: Progress | None = None) -> LabelledCase:
        """Predict a case.

        If the GPU's memory is full, the case is predicted once more with image and sums in the computer's memory.

        Args:
            case: The case.
            progress: Called after each window with the number of windows done and of all.

        Raises:
            UserError: A sum of logits does not fit fp16.
            RuntimeError: Not even the network fits into the GPU's memory, or another error of the GPU.
        """

        def export(slabs: Iterator[Tensor]) -> NDArray[Any]:
            return label_map(slabs, case.image.shape[1:], self.window.model, case.properties)

        made = network_pass(self.window, case.image, export, on_device=self.on_device, progress=progress)
        return LabelledCase(made.result, made.network, made.export)

    def write(self, labels: NDArray[Any], properties: Mapping[str, Any], file: Path) -> None:
        """Write a label map; see :func:`write_label_map`."""
        write_label_map(self.window.model.plans_manager.image_reader_writer_class(), labels, file, properties)


@dataclass(frozen=True)
class LabelledCase:
    """A prediction.

    Args:
        labels: Labels (D, H, W) in the axis order of the image as it was read.
        network: Seconds of the sliding window.
        export: Seconds of the export to the image's size.
        facts: What else is to be told of the case, by name.
    """

    labels: NDArray[Any]
    network: float
    export: float
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Passed(Generic[Result]):
    """What a pass made.

    Args:
        result: What was made of the slabs.
        network: Seconds of the sliding window.
        export: Seconds of everything else.
    """

    result: Result
    network: float
    export: float


class SlabSource(Protocol):
    """A sliding window, or several that work together."""

    @property
    def device(self) -> torch.device:
        """Where the network runs."""

    def slabs(
        self, image: Tensor, *, heads: int | None = None, on_device: bool = False, progress: Progress | None = None
    ) -> Iterator[Tensor]:
        """Yield slabs; see :meth:`SlidingWindow.slabs`."""


def network_pass(
    window: SlabSource,
    image: Tensor,
    export: Callable[[Iterator[Tensor]], Result],
    *,
    heads: int | None = None,
    on_device: bool = False,
    progress: Progress | None = None,
) -> Passed[Result]:
    """Predict an image, and use its logits as they come.

    If the GPU's memory is full, the image is predicted once more with image and sums in the computer's memory.

    Args:
        window: The sliding window.
        image: A preprocessed image (C, D, H, W), float32, on the CPU.
        export: Called with the slabs (heads, d, H, W), each of which it has to use before it asks for the next; if the
            GPU's memory is full, it is called again.
        heads: Logits of the network; None: as many as the model's labels need.
        on_device: Keep image and sums of logits on the GPU while they fit.
        progress: Called after each window with the number of windows done and of all.

    Raises:
        UserError: A sum of logits does not fit fp16.
        RuntimeError: Not even the network fits into the GPU's memory, or another error of the GPU.
    """

    def once(on_device: bool) -> Passed[Result]:
        start = perf_counter()
        stopwatch = _Stopwatch()
        with _nnunet_threads():
            result = export(stopwatch.timed(window.slabs(image, heads=heads, on_device=on_device, progress=progress)))
        return Passed(result, stopwatch.seconds, perf_counter() - start - stopwatch.seconds)

    if on_device:
        try:
            return once(True)
        except RuntimeError as error:
            if not gpu_is_full(error):
                raise
            logger.warning(
                "the GPU's memory is full: image and sums of logits of this case are kept in the computer's memory"
            )
        empty_cache(window.device)
    return once(False)


@dataclass
class _Stopwatch:
    seconds: float = field(default=0.0)

    def timed(self, slabs: Iterator[Tensor]) -> Iterator[Tensor]:
        """Yield the same slabs; count how long each was waited for."""
        while True:
            start = perf_counter()
            slab = next(slabs, None)
            self.seconds += perf_counter() - start
            if slab is None:
                return
            yield slab


@contextlib.contextmanager
def _nnunet_threads() -> Iterator[None]:
    """As many threads of torch as nnU-Net predicts with, on which the last bit of a network's output may depend."""
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, default_num_processes))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
