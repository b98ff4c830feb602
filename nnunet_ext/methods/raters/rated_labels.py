"""What the raters say of a batch, in the forms that losses take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RatedLabels:
    """Targets made from label maps (B, 1 + R, D, H, W) or (B, 1 + R, H, W): the case's own, then one for each rater.

    The case's own map counts only where no rater annotated the sample. Which raters did is ``present`` (B, R), bool.

    Args:
        labels: Number of labels, background included, without the ignore label.
        regions: Labels of each region; None if the classes are labels.
        ignore: The dataset's ignore label; None if it has none.

    Example:
        >>> import torch
        >>> maps = torch.tensor([0, 1, 1, 0]).view(1, 4, 1, 1)  # of the case, and of three raters
        >>> present = torch.tensor([[True, True, True]])
        >>> share, first = RatedLabels(2).shares(maps, present)
        >>> share.flatten().tolist()  # of background and of label 1
        [0.3333333432674408, 0.6666666865348816]
    """

    labels: int
    regions: tuple[tuple[int, ...], ...] | None = None
    ignore: int | None = None

    @property
    def unknown(self) -> int:
        """The label of voxels that do not count: the ignore label, or the next one."""
        return self.labels if self.ignore is None else self.ignore

    def target(self, maps: Tensor, *, unknown: bool = False) -> Tensor:
        """Return label maps (B, 1, ...) as nnU-Net's loss takes them: with regions, a bool channel for each.

        Args:
            maps: Label maps.
            unknown: Regions get the channel of ignored voxels even if the dataset has no ignore label.
        """
        if self.regions is None:
            return maps
        channels = [torch.isin(maps, torch.tensor(region, device=maps.device)) for region in self.regions]
        if unknown or self.ignore is not None:
            channels.append(maps == self.unknown)
        return torch.cat(channels, 1)

    def of_channel(self, maps: Tensor, channels: Sequence[int]) -> Tensor:
        """Return the map (B, 1, ...) of one channel of each sample."""
        return torch.stack([sample[channel : channel + 1] for sample, channel in zip(maps, channels, strict=True)])

    def of_rater(self, maps: Tensor, present: Tensor, rater: int) -> Tensor:
        """Return a rater's map (B, 1, ...), unknown in the samples that the rater left out."""
        return maps[:, rater + 1 : rater + 2].masked_fill(~_wide(present[:, rater : rater + 1], maps), self.unknown)

    def of_case(self, maps: Tensor, present: Tensor) -> Tensor:
        """Return the case's own map (B, 1, ...), unknown in the samples that a rater annotated."""
        return maps[:, :1].masked_fill(_wide(present.any(1, keepdim=True), maps), self.unknown)

    def agreed(self, maps: Tensor, present: Tensor) -> Tensor:
        """Return the map (B, 1, ...) of what all raters of a sample say, unknown where they differ."""
        counted = _counted(maps, present)
        first = maps.gather(1, counted.int().argmax(1, keepdim=True).expand(-1, -1, *maps.shape[2:]))
        same = ((maps == first) | ~counted).all(1, keepdim=True)
        return first.masked_fill(~same, self.unknown)

    def shares(self, maps: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return the share of raters for each class, and the map of the first rater who knows.

        A rater's ignored voxels are left out of the mean there.

        Returns:
            Shares (B, K, ...), float32, of labels or regions; and a label map (B, 1, ...), unknown where nobody knows.
        """
        counted = _counted(maps, present).expand_as(maps)
        if self.ignore is not None:
            counted = counted & (maps != self.ignore)
        number = counted.sum(1, keepdim=True)
        first = maps.gather(1, counted.int().argmax(1, keepdim=True)).masked_fill(number == 0, self.unknown)
        classes = [(label,) for label in range(self.labels)] if self.regions is None else self.regions
        votes = [
            (torch.isin(maps, torch.tensor(values, device=maps.device)) & counted).sum(1, keepdim=True)
            for values in classes
        ]
        return torch.cat(votes, 1) / number.clamp(min=1), first


def _wide(samples: Tensor, maps: Tensor) -> Tensor:
    """(B, C) as (B, C, 1, 1, 1)."""
    return samples.to(maps.device).reshape(*samples.shape, *(1,) * (maps.ndim - 2))


def _counted(maps: Tensor, present: Tensor) -> Tensor:
    """Which maps count, (B, 1 + R, 1, 1, 1)."""
    return _wide(torch.cat((~present.any(1, keepdim=True), present), 1), maps)
