"""A case that is read and preprocessed, ready for the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from numpy.typing import NDArray
from torch import Tensor

from nnunet_ext.data.image_file import check_whole
from nnunet_ext.data.image_reader import REFUSALS
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.prediction.trained_model import TrainedModel
from nnunet_ext.strategies.lose_channels import MISSING


@dataclass(frozen=True)
class PreparedCase:
    """A preprocessed image.

    Args:
        image: (C, D, H, W), float32, axes in the plans' order.
        properties: What nnU-Net's reader and preprocessing noted: spacing (mm), shapes, box of the crop.
        reading: Seconds that reading took.
        resampling: Seconds that preprocessing took: crop, normalization, resampling.
    """

    image: Tensor
    properties: dict[str, Any]
    reading: float
    resampling: float

    @classmethod
    def from_files(cls, model: TrainedModel, files: Sequence[Path], *, check: bool = True) -> PreparedCase:
        """Read and preprocess a case with the reader and the preprocessor of the model's plans.

        Args:
            model: The model.
            files: One file for each channel that is not missing, in the channels' order.
            check: Refuse NIfTI files that are cut off or hold NaN, which SimpleITK reads as zeros.

        Raises:
            UserError: A file is missing or damaged, or has another number of channels.
        """
        start = perf_counter()
        for file in files if check else ():
            check_whole(file)
        names = [str(file) for file in files]
        preprocessor = model.configuration.preprocessor_class(verbose=False)
        if type(preprocessor).run_case is not DefaultPreprocessor.run_case:  # another package's, which reads by itself
            if model.missing_channels:
                raise UserError(
                    f"missing channels: expected a preprocessor that reads images as nnU-Net's, found "
                    f"{type(preprocessor).__name__}, which reads all channels by itself. Give all."
                )
            read = preprocessor.run_case(names, None, model.plans_manager, model.configuration, model.dataset_json)
            return cls._of(read, 0.0, start)
        reader = model.plans_manager.image_reader_writer_class()
        try:
            image, properties = reader.read_images(names)
        except REFUSALS as error:
            raise UserError(
                f"{files[0]}: expected an image that nnU-Net's {type(reader).__name__} reads, got "
                f"{type(error).__name__}: {one_line(error, last=True)}. Replace or convert it."
            ) from error
        _check_channels(model, image, str(files[0]))
        seconds = perf_counter() - start
        return cls._preprocessed(model, preprocessor, image, properties, seconds)

    @classmethod
    def from_array(cls, model: TrainedModel, image: NDArray[Any], spacing: Sequence[float]) -> PreparedCase:
        """Preprocess an image.

        Args:
            model: The model.
            image: (C, D, H, W) without missing channels, axes in the order in which the reader of the model's plans
                returns them.
            spacing: Of D, H, W, in mm.

        Raises:
            UserError: The image has another number of axes or channels, or no voxel, or a spacing is not positive.
        """
        if image.ndim != 4 or 0 in image.shape:
            raise UserError(
                f"image: expected the shape (C, D, H, W), got {image.shape}. Add an axis of length 1 for one channel."
            )
        if len(spacing) != 3 or not all(np.isfinite(step) and step > 0 for step in spacing):
            raise UserError(f"spacing: expected three positive numbers, D, H, W in mm, got {spacing!r}. Correct it.")
        _check_channels(model, image, "image")
        preprocessor = model.configuration.preprocessor_class(verbose=False)
        properties = {"spacing": [float(step) for step in spacing]}
        return cls._preprocessed(model, preprocessor, image, properties, 0.0)

    @classmethod
    def _preprocessed(
        cls,
        model: TrainedModel,
        preprocessor: DefaultPreprocessor,
        image: NDArray[Any],
        properties: dict[str, Any],
        reading: float,
    ) -> PreparedCase:
        start = perf_counter()
        missing = list(model.missing_channels)
        if missing:  # zeros do not change where nnU-Net crops, nor the mask of its normalization
            there = image
            image = np.zeros((model.channels, *there.shape[1:]), there.dtype)
            image[[channel for channel in range(model.channels) if channel not in missing]] = there
        made = preprocessor.run_case_npy(
            image, None, properties, model.plans_manager, model.configuration, model.dataset_json
        )
        made[0][missing] = MISSING
        return cls._of(made, reading, start)

    @classmethod
    def _of(cls, made: tuple[NDArray[Any], Any, dict[str, Any]], reading: float, start: float) -> PreparedCase:
        image, _, properties = made
        tensor = torch.from_numpy(image).to(dtype=torch.float32, memory_format=torch.contiguous_format)
        return cls(tensor, properties, reading, perf_counter() - start)


def _check_channels(model: TrainedModel, image: NDArray[Any], name: str) -> None:
    wanted, missing = model.channels - len(model.missing_channels), len(model.missing_channels)
    if len(image) != wanted:
        raise UserError(
            f"{name}: expected {wanted} channel{'s' * (wanted > 1)}, as the model was trained with"
            f"{f' and {missing} of them missing' if missing else ''}, found {len(image)}. Give one file for each "
            f"channel, in the order of dataset.json."
        )
