"""A sliding window that keeps to a time: it measures the network and drops mirroring, then folds."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import torch
from torch import Tensor

from nnunet_ext.prediction.sliding_window import Progress, SlidingWindow, count_windows
from nnunet_ext.prediction.trained_model import TrainedModel

logger = logging.getLogger(__name__)
MARGIN = 1.05  # a choice has to fit the time with this factor
FADING = 0.9  # weight of all earlier windows: how fast the network is now counts more


@dataclass
class _Pace:
    """What windows have taken so far.

    Args:
        left: Windows that are not predicted yet, of all folds.
        last: When the last one was done.
        network: Seconds of passes of the network; earlier ones count less.
        passes: Their number, counted likewise.
        around: Seconds between windows: sums, export.
        windows: Their number.
    """

    left: int
    last: float
    network: float = 0.0
    passes: float = 0.0
    around: float = 0.0
    windows: int = 0

    def seconds(self, windows: int, passes: int) -> float:
        """Return the seconds that windows with so many passes of the network each will take."""
        return windows * (passes * self.network / self.passes + self.around / self.windows)


class BudgetedWindow(SlidingWindow):
    """A sliding window that is done by :attr:`deadline` if it can.

    Before an image, it predicts a window of zeros, and takes the first of these that fits: all folds with all
    mirrorings, with mirrorings along fewer axes, without, and then fewer folds without. While it predicts, it drops
    further mirrorings if time runs short; folds it can drop only before. It logs what it drops. With enough time, the
    logits are those of :class:`SlidingWindow`.

    Attributes:
        deadline: When the last logits must be there, as ``time.perf_counter()`` counts; None: no matter when.

    Example:
        >>> window = BudgetedWindow(model, torch.device("cuda"))  # doctest: +SKIP
        >>> window.deadline = perf_counter() + 600  # doctest: +SKIP
        >>> slabs = window.slabs(image)  # doctest: +SKIP
    """

    deadline: float | None = None
    _pace: _Pace | None = None
    _whole: tuple[TrainedModel, tuple[int, ...] | None] | None = None

    def slabs(
        self,
        image: Tensor,
        *,
        heads: int | None = None,
        on_device: bool = False,
        progress: Progress | None = None,
    ) -> Iterator[Tensor]:
        """Yield the logits slab by slab; see :meth:`SlidingWindow.slabs`."""
        self._whole = self._whole or (self.model, self.mirroring_axes)
        (self.model, self.mirroring_axes), self._pace = self._whole, None  # what the last image did without
        if self.deadline is not None:
            pace = self._trial(image.shape[0], heads, on_device)
            windows = count_windows(image.shape[1:], self.model.configuration.patch_size, self.step_size)
            self._choose(pace, windows, self.deadline)
            self._pace = replace(pace, left=windows * len(self.model.parameters), last=perf_counter())
        yield from super().slabs(image, heads=heads, on_device=on_device, progress=progress)

    def _logits(self, patch: Tensor) -> Tensor:
        """Return the logits of one window; note what it took, and drop mirrorings if time runs short."""
        pace = self._pace
        if pace is None:
            return super()._logits(patch)
        self._wait()
        start = perf_counter()
        pace.around += start - pace.last
        pace.windows += 1
        if pace.passes and self.deadline is not None:
            self._drop_mirrorings(pace, self.deadline)
        logits = super()._logits(patch)
        self._wait()
        pace.last = perf_counter()
        pace.network = FADING * pace.network + pace.last - start
        pace.passes = FADING * pace.passes + _passes(self.mirroring_axes)
        pace.left -= 1
        return logits

    def _trial(self, channels: int, heads: int | None, on_device: bool) -> _Pace:
        """Predict a window of zeros by one fold; twice, since the first time a GPU is slow."""
        whole = self.model, self.mirroring_axes
        self._use_folds(1)
        self.mirroring_axes = None
        patch = tuple(self.model.configuration.patch_size)
        zeros = torch.zeros((channels, *(1,) * (3 - len(patch)), *patch))
        for _ in range(2):
            self._pace = pace = _Pace(1, perf_counter())
            for _ in super().slabs(zeros, heads=heads, on_device=on_device):
                self._wait()
            pace.around += perf_counter() - pace.last
        (self.model, self.mirroring_axes), self._pace = whole, None
        return pace

    def _choose(self, pace: _Pace, windows: int, deadline: float) -> None:
        """Use as many folds and mirrorings as fit; ``windows`` of each fold."""
        folds, axes = len(self.model.parameters), self.mirroring_axes or ()
        mirrored = [(folds, number) for number in range(len(axes), -1, -1)]
        options = [*mirrored, *((fewer, 0) for fewer in range(folds - 1, 0, -1))]
        left = deadline - perf_counter()
        for kept, number in options:
            needed = pace.seconds(kept * windows, 2**number)
            if needed * MARGIN <= left:
                break
        if (kept, number) == options[0]:
            return
        self._use_folds(kept)
        self.mirroring_axes = axes[:number]
        logger.warning(
            "time budget: all would take %.0f s, %.0f s are left. Predicting with %d of %d folds, mirrored along %d of "
            "%d axes, which takes about %.0f s%s",
            pace.seconds(folds * windows, 2 ** len(axes)),
            left,
            kept,
            folds,
            number,
            len(axes),
            needed,
            "" if needed <= left else ": it will be late",
        )

    def _drop_mirrorings(self, pace: _Pace, deadline: float) -> None:
        left = deadline - perf_counter()
        while self.mirroring_axes and pace.seconds(pace.left, _passes(self.mirroring_axes)) > left:
            self.mirroring_axes = self.mirroring_axes[:-1]
            logger.warning(
                "time budget: %d windows and %.0f s are left. From here on mirrored along %d axes",
                pace.left,
                left,
                len(self.mirroring_axes),
            )

    def _use_folds(self, number: int) -> None:
        """Use the first folds. The window loads the weights of each only if there are several."""
        self.model = replace(self.model, parameters=self.model.parameters[:number])
        if number == 1:
            self.model.use(self.model.parameters[0])

    def _wait(self) -> None:
        """Wait for the GPU, which works on while Python counts the time."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _passes(axes: Sequence[int] | None) -> int:
    return int(2 ** len(axes or ()))
