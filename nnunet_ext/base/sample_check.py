"""Preprocessed data that nnU-Net trains on to the end and then cannot write a prediction of."""

from __future__ import annotations

from typing import Any

from nnunet_ext.errors import UserError

MOST_AXES = 3


def check_sample(data: Any) -> None:
    """Look at one preprocessed case, for data that were never checked raw.

    Args:
        data: A dataset of nnU-Net's training; its first case counts, if there is any.

    Raises:
        UserError: Its images have further axes beside the spatial ones, or its label has several channels.
    """
    if not data.identifiers:
        return
    case = sorted(data.identifiers)[0]
    _, label, _, properties = data.load_case(case)
    axes = len(properties.get("sitk_stuff", {}).get("spacing", ()))
    place = f"{data.source_folder}: case {case!r}"
    if axes > MOST_AXES:
        raise UserError(
            f"{place}: expected images with at most {MOST_AXES} axes, found {axes}: nnU-Net could not write its "
            f"predictions. Split each into one file for each channel, named _0000, _0001 ..., and preprocess again."
        )
    if label is not None and label.shape[0] != 1:
        raise UserError(
            f"{place}: expected a label with one channel, found {label.shape[0]}. Save the labels again with the "
            f"number of the class as the only value of a voxel, and preprocess again."
        )
