"""The images that a pre-training sees, with and without labels, and the loaders of their patches."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform, SegOnlyTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.seeding.seeds import seeded_process
from nnunet_ext.seeding.stepped_loader import SteppedLoader
from nnunet_ext.semi_supervised.masked.blocks import Blocks

OUTSIDE = -1  # where nnU-Net's cropping found nothing, and in padding


class Images:
    """Preprocessed images of several folders, for nnU-Net's loader.

    Args:
        cases: Names of the cases in each folder; no name is in two folders.
    """

    def __init__(self, cases: Mapping[str, Sequence[str]]) -> None:
        self.identifiers = sorted(name for names in cases.values() for name in names)
        self._data = {
            name: data
            for folder, names in cases.items()
            if names
            for data in [infer_dataset_class(folder)(folder, list(names))]
            for name in names
        }

    def load_case(self, identifier: str) -> tuple[Any, Any, None, dict[str, Any]]:
        """Return image, labels, nothing of an earlier stage, and properties."""
        image, labels, _, properties = self._data[identifier].load_case(identifier)
        return image, labels, None, properties


class InsideOnly(SegOnlyTransform):
    """Replace labels by where the image is: 0, and -1 elsewhere. What follows cannot learn from any label."""

    def apply(self, data_dict: dict[str, Any], **params: Any) -> dict[str, Any]:
        """Return a sample without its labels."""
        return data_dict | {"segmentation": data_dict["segmentation"].clamp(OUTSIDE, 0)}


def without_intensities(stock: ComposeTransforms) -> ComposeTransforms:
    """Return nnU-Net's transforms without those that change intensities, and with :class:`InsideOnly` as the first.

    Args:
        stock: Its training transforms: crops, rotation, scaling, mirroring and masking stay.
    """
    kept = [
        part
        for part in stock.transforms
        if not isinstance(getattr(part, "transform", part), ImageOnlyTransform | RemoveLabelTansform)
    ]
    return ComposeTransforms([InsideOnly(), *kept])


class FixedPatches(SteppedLoader):
    """The same patches in every epoch, with the same blocks hidden: of each case in turn, seeded with its name.

    A batch has ``data`` (B, C, D, H, W), ``target`` (B, 1, D, H, W), 0 in the image and -1 outside, and ``hidden``.

    Args:
        loader: Stock loader of the cases, without transforms.
        blocks: Of a patch.
        ratio: Share of the blocks that are hidden.
        channels: Of a patch, that have blocks of their own; 1 if all share them.
        steps: Steps of an epoch.
        ranks: Which process this is: each has patches of its own.
        options: See :class:`SteppedLoader`.
    """

    def __init__(
        self,
        loader: nnUNetDataLoader,
        blocks: Blocks,
        ratio: float,
        channels: int,
        *,
        steps: int,
        ranks: Ranks,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.loader = loader
        self.samples, loader.batch_size = loader.batch_size, 1
        self.cases = list(loader.indices)
        self._blocks, self._ratio, self._channels = blocks, ratio, channels
        self._steps, self._ranks = steps, ranks

    def __next__(self) -> dict[str, Any]:
        """Return the next batch."""
        first = self._next_step() % self._steps * self.samples
        numbers = range(first, first + self.samples)
        patches = [self.patch(number * self._ranks.world_size + self._ranks.rank) for number in numbers]
        joined = {name: torch.cat([patch[name] for patch in patches]) for name in ("data", "target", "hidden")}
        return joined | {"keys": [name for patch in patches for name in patch["keys"]]}

    def patch(self, number: int) -> dict[str, Any]:
        """Return a patch, counted over all cases: first one of each, then a second one of each."""
        again, place = divmod(number, len(self.cases))
        self.loader.indices = [self.cases[place]]
        name = hashlib.sha256(f"{self.cases[place]} {again}".encode()).digest()
        with seeded_process(np.random.SeedSequence(int.from_bytes(name[:16], "little"))):
            batch = next(self.loader)
            hidden = self._blocks.draw(1, self._channels, self._ratio, torch.device("cpu"))
        return batch | {"target": batch["target"].clamp(OUTSIDE, 0), "hidden": hidden}


def held_out(names: Sequence[str], share: float = 0.1) -> list[str]:
    """Return some of the names, at least one, always the same, chosen regardless of how they are called."""
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return sorted(order[: max(1, int(share * len(order)))])
