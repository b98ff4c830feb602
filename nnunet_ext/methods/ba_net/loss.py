"""BA-Net's boundary target and loss.

[0] Hu et al., Boundary-aware network for kidney parsing, KiPA22 challenge, MICCAI 2022
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from nnunet_ext.base.method_loss import MethodLoss, TrainingStep
from nnunet_ext.methods.ba_net.architecture import BANetOutput

IGNORED = 2  # value of ignored voxels in a boundary target


def neighbourhood_minimum(x: Tensor, width: int = 3) -> Tensor:
    """Minimum over the cube of ``width`` voxels around each voxel; voxels beyond the border do not count.

    Separable minima of shifted views: on a uint8 label map this takes a thirtieth of a max pooling's time.

    Args:
        x: Any ordered dtype, (B, C, D, H, W) or (B, C, H, W).
        width: Odd edge length in voxels.

    Returns:
        Same shape and dtype.
    """
    for axis in range(2, x.ndim):
        result = x.clone()
        length = x.shape[axis]
        for shift in range(1, min(width // 2, length - 1) + 1):
            kept = length - shift
            for here, there in ((0, shift), (shift, 0)):
                view = result.narrow(axis, here, kept)
                torch.minimum(view, x.narrow(axis, there, kept), out=view)
        x = result
    return x


@torch.no_grad()
def boundary_target(
    target: Tensor,
    *,
    width: int = 3,
    ignore_label: int | None = None,
    regions: bool = False,
    ignore_channel: bool = False,
) -> Tensor:
    """Mark the voxels that have a smaller label in their neighbourhood [0].

    For every pair of neighbouring labels the authors erode {label > lower} and unite what erosion removes; that is
    exactly ``label > minimum of the neighbourhood``. Voxels at the image border are not boundary by themselves. With
    regions, the boundaries of all channels are united. Ignored voxels are not boundary and create none.

    Differences from the authors: they compute it at full resolution and down-sample it (nearest), which breaks thin
    boundaries up; we compute it from each scale's own target, so it stays closed and one voxel wide.

    Args:
        target: Label map (B, 1, D, H, W), or with ``regions`` a bool map (B, R, D, H, W); 2d likewise.
        width: Edge length of the neighbourhood in voxels, odd.
        ignore_label: Label of ignored voxels in a label map. Must be the highest label, as nnU-Net requires: then it
            can never be a neighbour's minimum.
        regions: The channels of ``target`` are regions.
        ignore_channel: The last channel of a region target marks ignored voxels.

    Returns:
        uint8 (B, 1, D, H, W): 0 background, 1 boundary, 2 ignored.
    """
    ignored: Tensor | None = None
    if regions:
        channels = target.to(torch.uint8)
        if ignore_channel:
            channels, ignored = channels[:, :-1], channels[:, -1:]
            channels = channels | ignored
        boundary = (channels > neighbourhood_minimum(channels, width)).any(1, keepdim=True)
    else:
        boundary = target > neighbourhood_minimum(target, width)
        if ignore_label is not None:
            ignored = target == ignore_label
    result = boundary.to(torch.uint8)
    return result if ignored is None else result.masked_fill_(ignored.bool(), IGNORED)


class BoundaryLoss(nn.Module):
    """Loss between boundary logits and the boundary of a segmentation target, at one scale.

    Args:
        loss: Takes logits (B, 2, D, H, W) and a target (B, 1, D, H, W) with values 0, 1 and, for ignored voxels, 2.
        width: Edge length of the neighbourhood in voxels.
        highest_label: Highest value in a label map, the ignore label included; up to 255 we work on uint8.
        ignore_label: nnU-Net's ignore label, if the dataset has one.
        regions: The target's channels are regions.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from nnunet_ext import BoundaryLoss
        >>> class CrossEntropy(nn.CrossEntropyLoss):
        ...     def forward(self, logits, target):
        ...         return super().forward(logits, target[:, 0].long())
        >>> loss = BoundaryLoss(CrossEntropy(), width=3, highest_label=2)
        >>> target = torch.tensor([0, 0, 1, 1]).view(1, 1, 1, 4)
        >>> loss.target(target).flatten().tolist()
        [0, 0, 1, 0]
        >>> loss(torch.zeros(1, 2, 1, 4), target)  # log 2
        tensor(0.6931)
    """

    def __init__(
        self, loss: nn.Module, *, width: int, highest_label: int, ignore_label: int | None = None, regions: bool = False
    ) -> None:
        super().__init__()
        self.loss = loss
        self.width = width
        self.dtype = torch.uint8 if highest_label <= 255 else torch.int16
        self.ignore_label = ignore_label
        self.regions = regions

    def target(self, target: Tensor) -> Tensor:
        """Return :func:`boundary_target` of a segmentation target of this dataset."""
        return boundary_target(
            target if self.regions else target.to(self.dtype),
            width=self.width,
            ignore_label=None if self.regions else self.ignore_label,
            regions=self.regions,
            ignore_channel=self.regions and self.ignore_label is not None,
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``logits`` (B, 2, D, H, W) against a segmentation ``target`` (B, 1 or R, D, H, W)."""
        return self.loss(logits, self.target(target))


class BANetLoss(MethodLoss):
    """Segmentation loss + ``weight`` x boundary loss [0].

    Args:
        segmentation: nnU-Net's own loss, with its deep supervision.
        boundary: Takes the boundary logits and the same target, with the same deep supervision.
        weight: The authors use 1.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from nnunet_ext import BANetLoss, TrainingStep
        >>> from nnunet_ext.methods.ba_net.architecture import BANetOutput
        >>> loss = BANetLoss(nn.MSELoss(), nn.L1Loss(), weight=0.5)
        >>> step = TrainingStep(torch.zeros(1, 1, 4, 4))
        >>> loss(BANetOutput(torch.full((1, 1, 4, 4), 2.0), torch.ones(1, 1, 4, 4)), step)
        tensor(4.5000)
        >>> {name: part.item() for name, part in step.parts.items()}
        {'segmentation_loss': 4.0, 'boundary_loss': 1.0}
    """

    parts: ClassVar = ("segmentation_loss", "boundary_loss")

    def __init__(self, segmentation: nn.Module, boundary: nn.Module, weight: float = 1.0) -> None:
        super().__init__(segmentation)
        self.boundary = boundary
        self.weight = weight

    def training_loss(self, output: BANetOutput, step: TrainingStep) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its two terms."""
        segmentation = self.supervised(output.segmentation, step.target)
        boundary = self.boundary(output.boundary, step.target)
        return segmentation + self.weight * boundary, {"segmentation_loss": segmentation, "boundary_loss": boundary}
