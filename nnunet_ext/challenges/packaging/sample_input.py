"""A small synthetic input, as the platform would hand it over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_ext.challenges.container.inputs import DESCRIPTION
from nnunet_ext.challenges.container.interface import Interface
from nnunet_ext.files.json_file import write_json
from nnunet_ext.phantoms.dataset import phantom_case

SHAPE = (24, 40, 32)  # D, H, W
SPACING = (2.5, 1.0, 1.2)
ORIGIN = (-70.25, 12.5, 301.0)  # X, Y, Z in mm
DIRECTION = (0.0, 0.0, -1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0)  # axes of the file are not those of the world
NAME = "0e2b6a3c-synthetic"


def write_sample_input(folder: Path, interface: Interface) -> None:
    """Write one case: an image for each input, and ``inputs.json``.

    Args:
        folder: Stands for the platform's input folder.
        interface: Of the challenge.
    """
    image, _ = phantom_case(np.random.default_rng(0), shape=SHAPE, spacing=SPACING, channels=len(interface.inputs))
    described = []
    for number, (each, channel) in enumerate(zip(interface.inputs, image, strict=True)):
        file = folder / each.relative_path / f"{NAME}-{number}{each.ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        made = sitk.GetImageFromArray(channel.astype(np.int16))
        made.SetSpacing(SPACING[::-1])
        made.SetOrigin(ORIGIN)
        made.SetDirection(DIRECTION)
        sitk.WriteImage(made, str(file), useCompression=True)
        socket = {"slug": each.slug, "relative_path": each.relative_path, "kind": "Image"}
        described.append({"socket": socket, "image": {"name": file.name}})
    if all(each.slug for each in interface.inputs):
        write_json(folder / DESCRIPTION, described)
