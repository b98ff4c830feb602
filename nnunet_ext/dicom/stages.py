"""The stages of a prediction from DICOM series: only reading and writing differ from those of files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from highdicom import VolumeGeometry
from numpy.typing import NDArray

from nnunet_ext.dicom.channels import read_channels
from nnunet_ext.dicom.segmentation import Algorithm, segments_of, write_segmentation
from nnunet_ext.prediction.prepared_case import PreparedCase
from nnunet_ext.prediction.stages import Stages

HERE = "nnunet_ext.dicom"  # entry of a case's properties
LETTERS = {"R": "R", "L": "L", "A": "A", "P": "P", "S": "H", "I": "F"}  # DICOM: head and feet


@dataclass(kw_only=True)
class DicomStages(Stages):
    """What is done with a case of DICOM series.

    The image is handed to nnU-Net's preprocessing as an array, and the labels come back on its grid, whose affine is
    known exactly: no file in between rounds it.

    Args:
        algorithm: What the segmentation names as its maker.
        orientation: Directions of the axes X, Y, Z of the images that the model was trained with, such as RAS; None:
            columns, rows, slices as in the series.
    """

    algorithm: Algorithm
    orientation: str | None = None

    def prepare(self, files: Sequence[Path]) -> PreparedCase:
        """Read and preprocess a case.

        Args:
            files: Of all its series; series in the order of channels.

        Raises:
            UserError: A series is no volume, a file is damaged, or the channels differ in place or number.
        """
        start = perf_counter()
        channels = read_channels(files)
        grid = channels[0].geometry
        handed = handed_over(grid, self.orientation)
        image = np.stack([grid.with_array(series.image()).match_geometry(handed).array for series in channels])
        reading = perf_counter() - start
        case = PreparedCase.from_array(self.window.model, image, handed.spacing)
        properties = case.properties | {HERE: (channels, handed)}
        return dataclasses.replace(case, properties=properties, reading=reading)

    def write(self, labels: NDArray[Any], properties: Mapping[str, Any], file: Path) -> None:
        """Write the segmentation of a case; see :func:`write_segmentation`."""
        channels, handed = properties[HERE]
        on_series = handed.with_array(np.ascontiguousarray(labels)).match_geometry(channels[0].geometry)
        segments = segments_of(self.window.model.dataset_json["labels"])
        write_segmentation(on_series.array, channels, segments, self.algorithm, file)


def handed_over(geometry: VolumeGeometry, orientation: str | None) -> VolumeGeometry:
    """Return the grid on which a series is handed to nnU-Net: that of the series, with axes in another order.

    Args:
        geometry: Of the series.
        orientation: Directions of X, Y, Z, such as RAS; None: columns, rows, slices as in the series.

    Returns:
        Axes (Z, Y, X), as nnU-Net's readers return them.
    """
    if orientation is None:
        return geometry
    return geometry.to_patient_orientation("".join(LETTERS[letter] for letter in reversed(orientation)))
