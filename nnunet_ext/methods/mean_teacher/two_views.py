"""Two views of an unlabelled patch: a weakly augmented one for the teacher, a strongly augmented one for the student.

[0] Sohn et al., FixMatch: simplifying semi-supervised learning with consistency and confidence, NeurIPS 2020,
https://arxiv.org/abs/2001.07685
"""

from __future__ import annotations

from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform, ImageOnlyTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform

GEOMETRY = (Convert3DTo2DTransform, SpatialTransform, Convert2DTo3DTransform, MirrorTransform)


class TwoViews(ComposeTransforms):
    """Stock training transforms that return the image twice, the two views aligned voxel by voxel.

    Both views have the same crop, rotation, scaling and mirroring. Noise, blur, brightness, contrast, low resolution
    and gamma are in the strong view only. What follows in stock's list, such as a mask, is applied to both.

    The image comes out as (2C, D, H, W), the strong view's channels first.

    Args:
        stock: nnU-Net's training transforms of an image (C, D, H, W).
    """

    def __init__(self, stock: ComposeTransforms) -> None:
        super().__init__(stock.transforms)
        self.geometry = ComposeTransforms([part for part in stock.transforms if isinstance(part, GEOMETRY)])
        self.intensity = ComposeTransforms([part for part in stock.transforms if _changes_intensity(part)])
        apart = {*map(id, self.geometry.transforms), *map(id, self.intensity.transforms)}
        self.rest = ComposeTransforms([part for part in stock.transforms if id(part) not in apart])

    def apply(self, data_dict: dict[str, Any], **params: Any) -> dict[str, Any]:
        """Return the dict with both views in its image."""
        placed = self.geometry(**data_dict)
        weak = self.rest(**_copy(placed))
        strong = self.rest(**self.intensity(**_copy(placed)))
        return strong | {"image": torch.cat((strong["image"], weak["image"]))}


def _changes_intensity(transform: BasicTransform) -> bool:
    return isinstance(getattr(transform, "transform", transform), ImageOnlyTransform)


def _copy(sample: dict[str, Any]) -> dict[str, Any]:
    """Stock transforms write into their input."""
    return {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in sample.items()}
