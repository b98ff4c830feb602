"""A hash of everything that preprocessing depends on besides the images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_ext.files.json_file import read_json

OF_PLANS = (
    "image_reader_writer",
    "transpose_forward",
    "transpose_backward",
    "label_manager",
    "foreground_intensity_properties_per_channel",
)
OF_CONFIGURATION = (
    "preprocessor_name",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
)
OF_DATASET = ("labels", "regions_class_order")  # say where the loader may look for which class


def preprocessing_hash(folder: Path, plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> str:
    """Return the hash.

    Args:
        folder: The dataset's folder in nnUNet_preprocessed; its dataset.json counts.
        plans: The plans.
        configuration: The configuration, with what it inherits.
    """
    places = (
        (plans, OF_PLANS),
        (configuration, OF_CONFIGURATION),
        (read_json(folder / "dataset.json"), OF_DATASET),
    )
    content = [{key: place.get(key) for key in keys} for place, keys in places]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
