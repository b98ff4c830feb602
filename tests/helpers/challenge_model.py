"""A small model of a challenge, and inputs as the platform hands them over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from small_model import phantom, write_small_model

SPACING = (2.0, 1.25, 1.25)  # of D, H, W
ORIGIN = (-12.3456789012345, 7.1, 1 / 3)
TURNED = (0.0, 0.0, -1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0)
KITS = {
    "name": "kits21",
    "channels": ["CT"],
    "structures": {"kidney": [1], "tumor": [2], "cyst": [3]},
    "values": {"kidney": 1, "tumor": 2, "cyst": 3},
}
TUMORS = {
    "name": "segrap2023_gtv",
    "channels": ["non_contrast", "contrast"],
    "structures": {"GTVp": [1, 2], "GTVnd": [2, 3]},
    "values": {},
}


def write_challenge_model(results: Path, record: dict[str, Any] | None = KITS, **settings: Any) -> Path:
    """Write a small model whose dataset.json has a challenge's record, and whose plans know the median image."""
    channels = len(record["channels"]) if record else 1
    normalization = {
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
    }
    model = write_small_model(results, **({"channels": channels, "axes": (0,)} | normalization | settings))
    plans = json.loads((model / "plans.json").read_text())
    plans |= {"original_median_shape_after_transp": [20, 40, 40], "original_median_spacing_after_transp": [2, 1, 1]}
    (model / "plans.json").write_text(json.dumps(plans))
    if record is not None:
        description = json.loads((model / "dataset.json").read_text())
        (model / "dataset.json").write_text(json.dumps(description | {"challenge": record}))
    return model


def platform_image(shape: tuple[int, int, int] = (10, 18, 14), *, seed: int = 0, turned: bool = True) -> sitk.Image:
    """An image with an odd geometry."""
    image = sitk.GetImageFromArray(phantom(shape, seed=seed)[0].astype(np.int16))
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin(ORIGIN)
    image.SetDirection(TURNED if turned else (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    return image


def write_input(folder: Path, relative_path: str = "images/ct", name: str = "uuid", **settings: Any) -> Path:
    """Write an image as the platform does; return its file."""
    file = folder / relative_path / f"{name}.mha"
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(platform_image(**settings), str(file), useCompression=True)
    return file


def same_geometry(one: sitk.Image, other: sitk.Image) -> bool:
    """Whether size, spacing, origin and direction are equal to the last digit."""
    return all(
        getattr(one, name)() == getattr(other, name)()
        for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection")
    )
