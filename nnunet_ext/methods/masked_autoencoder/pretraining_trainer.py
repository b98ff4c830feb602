"""Trainers whose images come from two places, with and without labels, and need no label."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunet_ext.base.trained_on import UNLABELLED
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.data.folds import check_fold
from nnunet_ext.data.preprocessed.state import preprocessed_cases
from nnunet_ext.data.preprocessed.use import use_data
from nnunet_ext.data.same_images import raw_folder
from nnunet_ext.methods.masked_autoencoder.cases import PretrainingCases
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.seeding.seeds import Purpose
from nnunet_ext.seeding.stepped_loader import SingleLoader
from nnunet_ext.semi_supervised.masked.blocks import Blocks
from nnunet_ext.semi_supervised.masked.hiding import Hiding
from nnunet_ext.semi_supervised.masked.images import FixedPatches, Images, without_intensities
from nnunet_ext.semi_supervised.preprocessing import unlabelled_folder, unlabelled_if_any
from nnunet_ext.semi_supervised.raw_images import check_unlabelled_apart
from nnunet_ext.semi_supervised.two_streams import unlabelled_loader


class PretrainingTrainer(ExtTrainer):
    """Stock nnU-Net on patches of images alone; a dataset without any label will do.

    Training patches are random ones, with nnU-Net's rotation, scaling and mirroring; those of validation are always the
    same, and so is what is hidden of them.

    Raises:
        UserError: Fewer than two images, or unlabelled ones that are not preprocessed with these plans.
    """

    needs_labels: ClassVar[bool] = False

    @property
    def _own(self) -> dict[str, Any]:
        return self.knobs[self.method]

    @property
    def hiding(self) -> Hiding:
        """How patches are hidden.

        Raises:
            UserError: A patch has fewer than two blocks.
        """
        return Hiding.of(self.plans_manager.plans_name, self.configuration_manager, self._own)

    @property
    def blocks(self) -> Blocks:
        """The blocks of a patch."""
        return self.hiding.blocks

    @property
    def mask_channels(self) -> int:
        """Channels that have hidden blocks of their own; 1 if all share them."""
        return self.num_input_channels if self._own["per_channel"] else 1

    @cached_property
    def has_labelled(self) -> bool:
        """Whether the dataset has any labelled case, or should have."""
        return bool(preprocessed_cases(Path(self.preprocessed_dataset_folder)) or self.preprocessed_state().expected)

    def check_any_data(self) -> None:
        """Refuse an empty folder; without labelled cases, stock code finds the type of the data in the other folder."""
        if self.has_labelled:
            super().check_any_data()
        else:
            self.preprocessed_dataset_folder = [*self.cases.train][-1]  # of the unlabelled ones

    def check_preprocessed(self) -> None:
        """Refuse incomplete data of labelled cases."""
        if self.has_labelled:
            super().check_preprocessed()

    def check_fold(self) -> None:
        """Refuse a fold that does not fit the labelled cases; it may have none to train or validate on."""
        folder, data = Path(self.preprocessed_dataset_folder_base), Path(self.preprocessed_dataset_folder)
        check_fold(folder, preprocessed_cases(data), self.fold, of_member=True)

    def do_split(self) -> tuple[list[str], list[str]]:
        """Return the fold's labelled cases for training and validation."""
        return super().do_split() if self.has_labelled else ([], [])

    @cached_property
    def cases(self) -> PretrainingCases:
        """The images that are trained and validated on."""
        data = (Path(self.preprocessed_dataset_folder_base), self.plans_manager.plans, self.configuration_name)
        train, val = self.do_split()
        other = unlabelled_folder(*data)
        use_data(other)
        unlabelled = unlabelled_if_any(*data, raw_folder() / data[0].name)
        used = train if self._own["labelled_images"] else []
        labelled = Path(self.preprocessed_dataset_folder), used, val
        found = PretrainingCases.of(labelled, (other, unlabelled), data[0].name)
        if not found.held_out:
            check_unlabelled_apart(data[0].name, self.dataset_json, unlabelled, found.val[str(labelled[0])])
        return found

    def splits(self) -> dict[str, tuple[list[str], list[str]]]:
        """Return the images that are trained and validated on: labelled ones, then unlabelled ones.

        Else images that come in the middle of a training could change which ones are held out.
        """
        name, cases = self.plans_manager.dataset_name, self.cases
        names = name, f"{name}{UNLABELLED}"
        return {
            name: (train, cases.val.get(place, []))
            for name, (place, train) in zip(names, cases.train.items(), strict=True)
        }

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Random patches for training, always the same ones for validation."""
        self.print_to_log_file(self.cases.line())
        train = unlabelled_loader(self, Images(self.cases.train), self.batch_size)
        train.transforms = without_intensities(train.transforms)
        return (
            self.pool(partial(SingleLoader, train), Purpose.TRAINING, self.num_iterations_per_epoch),
            self.pool(self._fixed_patches(), Purpose.VALIDATION, self.num_val_iterations_per_epoch, share=2),
        )

    def _fixed_patches(self) -> Callable[..., FixedPatches]:
        sizes = self.batch_size, self.configuration_manager.patch_size, self.configuration_manager.patch_size
        loader = nnUNetDataLoader(Images(self.cases.val), *sizes, self.label_manager)
        loader.has_ignore = False  # else it looks for annotated voxels
        given = self.blocks, self._own["ratio"], self.mask_channels
        return partial(FixedPatches, loader, *given, steps=self.num_val_iterations_per_epoch, ranks=Ranks.now())
