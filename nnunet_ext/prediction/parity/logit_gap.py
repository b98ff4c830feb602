"""How far apart two labels of a voxel are, in the logits that the labels were made of."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from numpy.typing import NDArray

from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration
from nnunet_ext.resampling.axis_matrix import axis_matrix, coarse_axis_matrix
from nnunet_ext.resampling.corners import corners

Whole = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class LogitGap:
    """Measures the gap between two labels of voxels of an image.

    The logits are interpolated in float64, at these voxels only. The gap of two classes is the difference of their
    logits. Of two labels that were made of regions, the region that is painted later is in one label map and not in
    the other one, so the gap is the distance of its logit from 0.

    A step is the distance between neighbouring fp16 numbers at the largest of the logits that a voxel is interpolated
    from: nnU-Net stores logits in fp16, so it knows none of them better.

    Args:
        logits: (heads, D, H, W), fp16, in the axis order of the plans.
        properties: What nnU-Net's preprocessing noted of the image: spacing (mm), shapes, box of the crop.
        plans: The model's plans.
        configuration: The model's configuration.
        labels: The model's labels.
    """

    logits: NDArray[np.float16]
    properties: Mapping[str, Any]
    plans: PlansManager
    configuration: ConfigurationManager
    labels: LabelManager

    def largest(self, voxels: Whole, first: Whole, second: Whole) -> float:
        """Return the largest gap, in steps.

        Args:
            voxels: Flat indices (n) in the image, axes in the order in which it was read.
            first: Labels (n) of the voxels in one label map.
            second: Labels (n) in the other; none equals the first one.

        Returns:
            The gap; infinite if a voxel has no logits, since nnU-Net cropped it, or a label has none.
        """
        first_head, second_head = self._heads(first), self._heads(second)
        if (first_head == UNKNOWN).any() or (second_head == UNKNOWN).any():
            return np.inf
        box = np.array(self.properties["bbox_used_for_cropping"])
        places = self._places(voxels) - box[:, :1]
        if (places < 0).any() or (places >= (box[:, 1:] - box[:, :1])).any():
            return np.inf
        axes = self._axes(box[:, 1] - box[:, 0])
        if self.labels.has_regions:
            gap, peak = self._interpolated(np.maximum(first_head, second_head), places, axes)
        else:
            one, peak = self._interpolated(first_head, places, axes)
            other, other_peak = self._interpolated(second_head, places, axes)
            gap, peak = one - other, np.maximum(peak, other_peak)
        return float((np.abs(gap) / np.spacing(peak.astype(np.float16))).max())

    def _heads(self, labels: Whole) -> NDArray[np.intp]:
        """The head that decides about each label; of regions BACKGROUND where none is painted."""
        order = self.labels.regions_class_order if self.labels.has_regions else range(len(self.logits))
        table = np.full(max(int(labels.max()), *order, 0) + 1, UNKNOWN)
        if self.labels.has_regions:
            table[0] = BACKGROUND
        table[list(order)] = np.arange(len(order))
        return table[labels]

    def _places(self, voxels: Whole) -> NDArray[np.intp]:
        """Indices (3, n) in the axis order of the plans, before cropping."""
        whole = self.properties["shape_before_cropping"]
        read = np.unravel_index(voxels, [whole[axis] for axis in self.plans.transpose_backward])
        return np.stack([read[axis] for axis in self.plans.transpose_forward])

    def _axes(self, shape: NDArray[np.intp]) -> list[tuple[NDArray[Any], ...]]:
        """What each row of the cropped image reads of the logits, for each axis."""
        spacing = [self.properties["spacing"][axis] for axis in self.plans.transpose_forward]
        planned = list(self.configuration.spacing)
        if len(planned) == 2:  # slices keep their distance
            planned = [spacing[0], *planned]
        how = FastConfiguration.of(self.configuration).planned_resampling("probabilities", planned, spacing)
        found: list[tuple[NDArray[Any], ...]] = []
        for axis, (source, target) in enumerate(zip(self.logits.shape[1:], shape.tolist(), strict=True)):
            thick = axis == how.separate_axis
            matrix = (coarse_axis_matrix if thick else axis_matrix)(source, target, how.order_z if thick else how.order)
            found.append(corners(matrix))
        return found

    def _interpolated(
        self, heads: NDArray[np.intp], places: NDArray[np.intp], axes: list[tuple[NDArray[Any], ...]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The logit (n) of a head at each place, and the largest absolute logit (n) that it is made of."""
        value, peak = np.zeros(heads.shape), np.zeros(heads.shape)
        for sides in itertools.product((False, True), repeat=3):
            weight, index = np.ones(heads.shape), []
            for is_upper, place, (lower, upper, share) in zip(sides, places, axes, strict=True):
                index.append((upper if is_upper else lower)[place])
                weight *= share[place] if is_upper else 1 - share[place]
            logit = self.logits[(heads, *index)].astype(np.float64)
            value += weight * logit
            peak = np.maximum(peak, np.abs(logit))
        return value, peak


BACKGROUND, UNKNOWN = -1, -2
