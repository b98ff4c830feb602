"""Batches of labelled and of unlabelled samples, in a given order, and the loader of the latter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.seeding.seeds import Purpose
from nnunet_ext.seeding.stepped_loader import SteppedLoader

IMAGES_ONLY = (("unlabelled", "data"),)


class TwoStreams(SteppedLoader):
    """Iterator over batches of a labelled and an unlabelled loader.

    A batch is that of the labelled loader, with its ``step``, counted from the beginning of the training, and
    ``unlabelled`` (Bu, C, D, H, W), images only: unless ``entries`` says so, nothing else leaves the unlabelled loader,
    so nothing can train on them as background.

    Args:
        labelled: Stock loader.
        unlabelled: Stock loader of unlabelled cases; None for validation, whose batches have no ``unlabelled``.
        entries: What a batch takes of the unlabelled loader's: name in the batch and there.
        options: See :class:`SteppedLoader`.
    """

    def __init__(
        self,
        labelled: Iterator[dict[str, Any]],
        unlabelled: Iterator[dict[str, Any]] | None,
        *,
        entries: tuple[tuple[str, str], ...] = IMAGES_ONLY,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.labelled = labelled
        self.unlabelled = unlabelled
        self._entries = entries

    def __next__(self) -> dict[str, Any]:
        """Return the next batch."""
        step = self._next_step()
        with self._seeded(step):
            batch = next(self.labelled) | {"step": step}
        if self.unlabelled is not None:
            with self._seeded(step, Purpose.UNLABELLED):
                drawn = next(self.unlabelled)
                batch |= {name: drawn[entry] for name, entry in self._entries}
        return batch


def unlabelled_loader(trainer: ExtTrainer, dataset: nnUNetBaseDataset, batch_size: int) -> nnUNetDataLoader:
    """Return a stock loader of random patches with stock augmentation, without deep supervision.

    Args:
        trainer: Whose plans and augmentation they are.
        dataset: The cases; their labels, if they have any, do not matter.
        batch_size: Samples in a batch.
    """
    configuration = trainer.configuration_manager
    rotation, dummy_2d, initial_patch_size, mirror_axes = (
        trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    )
    mask = configuration.use_mask_for_norm
    transforms = trainer.get_training_transforms(
        configuration.patch_size, rotation, None, mirror_axes, dummy_2d, use_mask_for_norm=mask
    )
    labels = trainer.label_manager
    sizes = batch_size, initial_patch_size, configuration.patch_size
    loader = nnUNetDataLoader(dataset, *sizes, labels, transforms=transforms)
    loader.has_ignore = False  # else it looks for annotated voxels
    return loader
