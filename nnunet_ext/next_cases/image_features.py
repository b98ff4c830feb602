"""What a network sees in an image, as one vector: means of its deepest features."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._dynamo import OptimizedModule

from nnunet_ext.errors import UserError
from nnunet_ext.prediction.prepared_case import PreparedCase
from nnunet_ext.prediction.sliding_window import SlidingWindow
from nnunet_ext.prediction.trained_model import TrainedModel


class ImageFeatures:
    """Reads images and runs the network on windows side by side.

    In each window, the network's convolution with the fewest outputs in space, in a U-Net that of the bottleneck, is
    averaged over space; of several, the last one counts. The vector of an image is the mean over its windows. The
    convolution is taken before its normalization, since instance norm gives each channel the same mean in every image
    (benchmarks/condition.py: vectors of hippocampus images differ four times as much before as after it).

    Args:
        model: The model; the weights of its first fold are used.
        device: Where the network runs.

    Raises:
        UserError: The network has no convolutions, or the GPU's memory is full.
    """

    def __init__(self, model: TrainedModel, device: torch.device) -> None:
        if isinstance(model.network, OptimizedModule):  # compiled code would not call what is hooked to its parts
            model.network = model.network._orig_mod
        if not _convolutions(model.network):
            raise UserError(
                f"{model.trainer_name}: expected a network with convolutions, found none. Choose with --random."
            )
        self.model = model
        self._window = SlidingWindow(model, device, step_size=1.0, mirroring=False)

    def of_files(self, files: Sequence[Path]) -> NDArray[np.float32]:
        """Return the vector (F,) of an image.

        Args:
            files: One file for each channel, in the channels' order.

        Raises:
            UserError: A file is missing or damaged, or has another number of channels.
        """
        return self.of_image(PreparedCase.from_files(self.model, files).image)

    def of_image(self, image: Tensor) -> NDArray[np.float32]:
        """Return the vector (F,) of a preprocessed image.

        Args:
            image: (C, D, H, W), float32, on the CPU.

        Raises:
            UserError: The features are no finite numbers, as those of NaN, or of a single voxel in each window.
        """
        with _deepest(self.model.network) as windows:
            for _ in self._window.slabs(image):
                pass
        vector: NDArray[np.float32] = (torch.stack(windows).mean(0) if windows else torch.zeros(0)).numpy()
        if not vector.size or not np.isfinite(vector).all():
            raise UserError(
                "features: expected finite numbers in several voxels, found others. Check the image's intensities, or "
                "choose with --random."
            )
        return vector


@contextlib.contextmanager
def _deepest(network: nn.Module) -> Iterator[list[Tensor]]:
    """``with _deepest(network) as windows:`` each call of the network appends the mean of its deepest features."""
    windows: list[Tensor] = []
    seen: list[tuple[int, Tensor]] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        voxels = output[0, 0].numel()
        # a single one holds what is pooled already, such as the input of a controller
        if voxels > 1 and (not seen or voxels <= seen[-1][0]):
            seen[:] = [(voxels, output[0].flatten(1).float().mean(1).cpu())]

    def finish(*_: Any) -> None:
        windows.extend(vector for _, vector in seen)
        seen.clear()

    parts = (part.register_forward_hook(keep) for part in _convolutions(network))
    hooks = [*parts, network.register_forward_hook(finish)]
    try:
        yield windows
    finally:
        for hook in hooks:
            hook.remove()


def _convolutions(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Conv3d))]
