"""nnU-Net's trainer with pseudo-labels: train, predict the unlabelled images, retrain on both."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch

from nnunet_ext.semi_supervised.pseudo_labelled.trainer import PseudoLabelledTrainer


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

    Knobs (plans blocks ``nnunet_ext.pseudo_label`` and ``nnunet_ext.unlabelled``): ``supervised_share``,
    ``pseudo_label_weight``, ``anew``; ``batch_size``.

    Not reproduced: unlabelled cases that train as background because they have no label; patches whose labels are those
    of another crop; a second part that is shorter than it seems, because it continues with the first one's learning
    rate.

    Raises:
        UserError: The pseudo-labels that a training resumes with, or the unlabelled cases, are gone or changed; an
            unlabelled batch that DDP ranks cannot share evenly under batch Dice.
    """

    method: ClassVar = "pseudo_label"
    _first_weights: dict[str, torch.Tensor] | None = None

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

    def _renew_pseudo_labels(self) -> None:
        super()._renew_pseudo_labels()
        if self.knobs["pseudo_label"]["anew"]:
            self.bare_network.load_state_dict(cast(dict[str, torch.Tensor], self._first_weights))
        self._first_weights = None
        self._restart_optimizer()

    # checkpoints

    def extra_state(self) -> dict[str, Any]:
        """Return the weights to restart from, until that is done."""
        own = {"first_weights": self._first_weights} if self._predicted_by is None else {}
        return super().extra_state() | own

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`extra_state` returned."""
        super().load_extra_state(state)
        weights = state.get("first_weights")
        self._first_weights = None if weights is None else {name: weight.clone() for name, weight in weights.items()}
