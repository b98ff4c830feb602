"""The mean probabilities of several models, slice by slice of the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnunet_ext.errors import UserError
from nnunet_ext.prediction.ensemble.image_slices import image_slices
from nnunet_ext.prediction.prepared_case import PreparedCase
from nnunet_ext.prediction.sliding_window import Progress, SlidingWindow


@dataclass(frozen=True)
class JoinedWindows:
    """The sliding windows of several models over one image, which work side by side.

    The models may differ in plans: each predicts on its own grid, and its logits are resampled to the image's grid, in
    the axis order of the first. A model that transposes axes otherwise keeps the logits of the whole image in memory.

    Args:
        windows: The models, on one device.
        cases: The image, preprocessed for each of them.
    """

    windows: Sequence[SlidingWindow]
    cases: Sequence[PreparedCase]

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.windows[0].device

    @torch.inference_mode()
    def slabs(
        self, image: Tensor, *, heads: int | None = None, on_device: bool = False, progress: Progress | None = None
    ) -> Iterator[Tensor]:
        """Yield the mean of the models' probabilities in the crop of the image.

        Args:
            image: Of the first case.
            heads: None.
            on_device: Keep images and sums of logits on the device.
            progress: Called after each window with the number of windows done and of all that are known.

        Yields:
            Probabilities (heads, H', W') of each slice, float32, in the axis order of the first model.

        Raises:
            UserError: The models crop the image differently, or a sum of logits does not fit fp16.
        """
        count = _Count(progress)
        streams = [self._slices(number, on_device, count) for number in range(len(self.windows))]
        while True:
            logits = [next(stream, None) for stream in streams]
            found = [each for each in logits if each is not None]
            if len(found) < len(logits):
                return
            mean = self._probabilities(0, found[0])
            for number, each in enumerate(found[1:], 1):
                mean += self._probabilities(number, each)
            yield mean.div_(len(found))

    def _probabilities(self, number: int, logits: Tensor) -> Tensor:
        found: Tensor = self.windows[number].model.label_manager.inference_nonlin(logits.float())
        return found

    def _slices(self, number: int, on_device: bool, count: _Count) -> Iterator[Tensor]:
        """The logits (heads, H', W') of each slice, in the first model's axis order."""
        window, case, first = self.windows[number], self.cases[number], self.cases[0]
        axes = window.model.plans_manager.transpose_forward
        order = [axes.index(axis) for axis in self.windows[0].model.plans_manager.transpose_forward]
        boxes = [case.properties["bbox_used_for_cropping"][axis] for axis in order]
        box = first.properties["bbox_used_for_cropping"]
        if [list(ends) for ends in boxes] != [list(ends) for ends in box]:
            raise UserError(
                f"image: expected all models to crop it to {box}, found {boxes}, because a model's preprocessing is "
                f"another. Predict it with nnUNetv2_predict --save_probabilities, and use nnUNetv2_ensemble."
            )
        slabs = window.slabs(case.image, on_device=on_device, progress=count.of(number))
        if order != [0, 1, 2]:
            slabs = iter([torch.cat([slab.clone() for slab in slabs], 1).permute(0, *(axis + 1 for axis in order))])
        resampling = window.model.export_resampling(case.properties["spacing"])
        return image_slices(
            slabs,
            [case.image.shape[1:][axis] for axis in order],
            [end - start for start, end in box],
            order=resampling.order,
            separate_axis=None if resampling.separate_axis is None else order.index(resampling.separate_axis),
            order_z=resampling.order_z,
        )


class _Count:
    """Adds up the windows of all models."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._windows: dict[int, tuple[int, int]] = {}

    def of(self, number: int) -> Progress:
        """Return what one model calls after each window."""

        def counted(done: int, windows: int) -> None:
            self._windows[number] = (done, windows)
            if self._progress is not None:
                self._progress(*(sum(each) for each in zip(*self._windows.values(), strict=True)))

        return counted
