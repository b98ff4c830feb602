"""What is measured of a case, in one process, and its picture."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_ext.data.image_reader import planned_reader, read_image
from nnunet_ext.errors import UserError
from nnunet_ext.labels.suspects.class_measures import ClassMeasures, class_measures
from nnunet_ext.labels.suspects.label_pair import LabelPair
from nnunet_ext.labels.suspects.pictures import side_by_side
from nnunet_ext.labels.suspects.predicted_case import PredictedCase
from nnunet_ext.labels.suspects.repairs import Repair, class_shift, confusion, whole_repairs
from nnunet_ext.labels.suspects.temperature import Sample, confidence, sample


@dataclass(frozen=True)
class CaseMeasures:
    """All that is compared between cases.

    Args:
        name: The case.
        fold: That predicted it.
        classes: Measures of the classes that label or prediction have.
        repairs: What moving the whole label, or exchanging two classes, would gain.
        beyond: Share of the label's foreground that lies where all channels of the image are 0.
        unit: Of sizes, ``ml`` or ``cm²``.
        voxel: Voxel size in mm, geometric mean over the axes.
        picture: Image, label and prediction, as a data URI.
        problem: Why it could not be measured; None if it could.
    """

    name: str
    fold: int
    classes: dict[str, ClassMeasures] = field(default_factory=dict)
    repairs: tuple[Repair, ...] = ()
    beyond: float = 0.0
    unit: str = "ml"
    voxel: float = 1.0
    picture: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Measuring:
    """What all cases share; a process gets it with the function.

    Args:
        description: dataset.json, with labels as numbers.
        plans: They name nnU-Net's reader.
        temperatures: By fold; of folds without probabilities, none.
        tau: From which probability on a voxel is confidently predicted.
        side: Pixels along the longer side of a picture.
    """

    description: Mapping[str, Any]
    plans: Mapping[str, Any]
    temperatures: Mapping[int, float]
    tau: float
    side: int

    def of(self, case: PredictedCase) -> CaseMeasures:
        """Measure a case; what is wrong with its files is a result, so that the other cases go on."""
        try:
            return self._measure(case)
        except UserError as error:
            return CaseMeasures(case.name, case.fold, problem=str(error))

    def sample(self, case: PredictedCase) -> tuple[int, Sample | None]:
        """Return a case's fold and voxels to fit its temperature on; none of a case that cannot be read."""
        try:
            return case.fold, sample(case.read(self.description, planned_reader(self.plans), probabilities=True))
        except UserError:  # measuring it says why
            return case.fold, None

    def _measure(self, case: PredictedCase) -> CaseMeasures:
        reader = planned_reader(self.plans)
        temperature = self.temperatures.get(case.fold)
        pair = case.read(self.description, reader, probabilities=temperature is not None)
        sure = None if temperature is None else confident(pair, temperature, self.tau)
        repairs = whole_repairs(pair)
        counts, found = confusion(pair), {}
        for name in pair.classes:
            measures = class_measures(pair, name, sure, _other(pair, counts, name), class_shift(pair, name))
            if measures is not None:
                found[name] = measures
        images = [read_image(reader, file)[0] for file in case.case.images]
        channels: NDArray[Any] = np.concatenate([image for image in images if image.shape == images[0].shape])
        if channels.shape[1:] != pair.labels.shape:
            raise UserError(
                f"{case.label}: expected the shape {channels.shape[1:]} of its image, got {pair.labels.shape}. "
                f"Resample it onto that image."
            )
        worst = min(found, key=lambda name: found[name].dice, default=None)
        return CaseMeasures(
            case.name,
            case.fold,
            found,
            tuple(repairs),
            _beyond(pair, channels),
            pair.grid.unit,
            float(np.prod(pair.grid.spacing) ** (1 / len(pair.grid.spacing))),
            side_by_side(channels[0], pair, () if worst is None else pair.classes[worst], side=self.side),
        )


def confident(pair: LabelPair, temperature: float, tau: float) -> NDArray[np.bool_] | None:
    """Return where the prediction is more probable than ``tau``, near the foreground; None without probabilities."""
    if pair.chances is None:
        return None
    found = np.zeros(pair.labels.shape, bool)
    chances = pair.chances[(slice(None), *pair.box)]
    found[pair.box] = confidence(chances, temperature, regions=pair.regions) > tau
    return found & pair.counts


def _other(pair: LabelPair, counts: NDArray[np.int64], name: str) -> tuple[str | None, float]:
    """The class that most of a class's voxels are predicted as, and their share; regions overlap, so there is none."""
    own = pair.classes[name]
    if pair.regions or not counts[own].sum():
        return None, 0.0
    row = counts[own[0]].copy()
    row[[0, own[0]]] = 0
    largest = int(row.argmax())
    return (pair.names[largest], float(row[largest] / counts[own[0]].sum())) if row[largest] else (None, 0.0)


def _beyond(pair: LabelPair, channels: NDArray[Any]) -> float:
    filled = functools.reduce(np.logical_or, (channel != 0 for channel in channels))
    foreground = pair.labels > 0
    number = int(np.count_nonzero(foreground))
    if not number or filled.all():
        return 0.0
    inside = ndimage.binary_fill_holes(filled.squeeze()).reshape(filled.shape)  # an image of one slice has holes, too
    return float(np.count_nonzero(foreground & ~inside) / number)
