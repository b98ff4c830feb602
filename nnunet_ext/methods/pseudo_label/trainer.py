"""nnU-Net's trainer with pseudo-labels: train, predict the unlabelled images, retrain on both."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunet_ext.data.same_images import raw_folder
from nnunet_ext.errors import UserError
from nnunet_ext.methods.pseudo_label.filled_labels import WithFilledLabels, fill_ignored
from nnunet_ext.semi_supervised.preprocessing import unlabelled_folder
from nnunet_ext.semi_supervised.pseudo_labelled.trainer import PseudoLabelledTrainer
from nnunet_ext.semi_supervised.pseudo_labels import PseudoLabelFolder
from nnunet_ext.semi_supervised.raw_images import has_unlabelled


class PseudoLabelTrainer(PseudoLabelledTrainer):
    """The practical baseline of semi-supervised training, in one run, on any nnU-Net plans.

    1. The first epochs (knob ``supervised_share``) are stock nnU-Net on the labelled cases.
    2. The network predicts all unlabelled cases, as nnU-Net predicts (sliding window, mirroring). The label maps are
       stored in the fold's folder, ``pseudo_labels``.
    3. The weights that the training began with (or those that predicted, knob ``anew``), a new optimizer and a new
       decay of the learning rate: the other epochs train on labelled and pseudo-labelled samples. A pseudo-labelled
       patch is cropped, augmented and oversampled in the foreground as a labelled one is, with its labels.

    The network is the plans' own and its checkpoints load into stock nnU-Net. ``checkpoint_best`` is the best of the
    last part once that has begun. A run that was killed resumes where it stopped, during prediction case by case.

    With ``ignored_voxels``, step 2 also predicts the training cases of the fold and fills their ignored voxels
    (:func:`fill_ignored`), in ``filled_labels``; step 3 trains on these label maps. Unlabelled images are not needed
    then. Without an ignored voxel the knob changes nothing.

    Knobs (plans blocks ``nnunet_ext.pseudo_label`` and ``nnunet_ext.unlabelled``): ``supervised_share``,
    ``pseudo_label_weight``, ``anew``, ``ignored_voxels``, ``threshold``; ``batch_size``.

    Not reproduced: unlabelled cases that train as background because they have no label; patches whose labels are those
    of another crop; a second part that is shorter than it seems, because it continues with the first one's learning
    rate.

    Raises:
        UserError: The pseudo-labels that a training resumes with, or the unlabelled cases, are gone or changed; an
            unlabelled batch that DDP ranks cannot share evenly under batch Dice; neither unlabelled images nor an
            ignore label.
    """

    method: ClassVar = "pseudo_label"
    _first_weights: dict[str, torch.Tensor] | None = None
    _filled_by: str | None = None  # digest of the network whose predictions fill ignored voxels

    @property
    def supervised_epochs(self) -> int:
        """Number of epochs before the prediction: at least one, and all but one at most."""
        share = self.knobs["pseudo_label"]["supervised_share"]
        return max(1, min(round(share * self.num_epochs), self.num_epochs - 1))

    @property
    def part_lengths(self) -> tuple[int, ...]:
        """Epochs before the prediction and after it; a training of one epoch has one part."""
        rest = self.num_epochs - self.supervised_epochs
        return (self.supervised_epochs, rest) if rest else (self.supervised_epochs,)

    def samples_of_parts(self) -> tuple[int, int]:
        """Return how many labelled and pseudo-labelled samples a batch has."""
        labelled, unlabelled = super().samples_of_parts()
        return labelled, unlabelled if self._has_unlabelled else 0

    # loading

    @classmethod
    def needs_unlabelled(cls, knobs: Mapping[str, Any]) -> bool:
        """Whether there are no ignored voxels to fill."""
        return not knobs["pseudo_label"]["ignored_voxels"]

    @property
    def filled_labels(self) -> PseudoLabelFolder:
        """Where label maps of training cases are whose ignored voxels were filled."""
        return PseudoLabelFolder(Path(self.output_folder) / "filled_labels")

    @property
    def _fills(self) -> bool:
        return self.knobs["pseudo_label"]["ignored_voxels"] and self.label_manager.has_ignore_label

    @cached_property
    def _has_unlabelled(self) -> bool:
        if self.needs_unlabelled(self.knobs):
            return True
        data = Path(self.preprocessed_dataset_folder_base)
        raw = raw_folder() / data.name
        place = unlabelled_folder(data, self.plans_manager.plans, self.configuration_name)
        return place.is_dir() or has_unlabelled(raw)

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Return the loaders of semi-supervised trainings; the unlabelled one may be missing if voxels are filled."""
        if not self._has_unlabelled and not self.label_manager.has_ignore_label:
            raise UserError(
                f"{Path(self.preprocessed_dataset_folder_base).name}: knob pseudo_label.ignored_voxels expects an "
                f"ignore label or unlabelled images, found neither. Train with another trainer."
            )
        return super().get_dataloaders()

    def bare_loaders(self) -> tuple[nnUNetDataLoader, nnUNetDataLoader]:
        """Return stock loaders; that of training reads filled labels once there are any."""
        train, val = super().bare_loaders()
        if self._needs_pseudo_labels and self._filled_by is not None:
            self._check_pseudo_labels(self.filled_labels, self.filled_labels.marker.problem(self._filled_by))
            train._data = WithFilledLabels(train._data, self.filled_labels)
        return train, val

    @property
    def pseudo_label_weight(self) -> float:
        """The knob's value."""
        return self.knobs["pseudo_label"]["pseudo_label_weight"]

    def on_train_start(self) -> None:
        """Prepare as stock does; a new training keeps its initial weights if it will restart from them."""
        super().on_train_start()
        if self.knobs["pseudo_label"]["anew"] and not self._starts_from_checkpoint:
            self._first_weights = {
                name: weight.cpu().clone() for name, weight in self.bare_network.state_dict().items()
            }
        if self.num_epochs == 1:
            self.print_to_log_file("WARNING: one epoch trains on labelled images only, set the knob num_epochs higher")

    def _predict(self) -> str:
        found = super()._predict() if self._unlabelled_cases else ""
        if self._fills:
            self._filled_by = fill_ignored(self, self.filled_labels, self.knobs["pseudo_label"]["threshold"])
        return found or self._filled_by or ""

    def _renew_pseudo_labels(self) -> None:
        super()._renew_pseudo_labels()
        if self.knobs["pseudo_label"]["anew"]:
            self.bare_network.load_state_dict(cast(dict[str, torch.Tensor], self._first_weights))
        self._first_weights = None
        self._restart_optimizer()

    # checkpoints

    def extra_state(self) -> dict[str, Any]:
        """Return the weights to restart from, until that is done."""
        own: dict[str, Any] = {"first_weights": self._first_weights} if self._predicted_by is None else {}
        own |= {} if self._filled_by is None else {"filled_by": self._filled_by}
        return super().extra_state() | own

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`extra_state` returned."""
        super().load_extra_state(state)
        self._filled_by = state.get("filled_by")
        weights = state.get("first_weights")
        self._first_weights = None if weights is None else {name: weight.clone() for name, weight in weights.items()}
