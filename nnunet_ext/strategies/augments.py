"""Trainers whose augmentation has knobs of ours."""

from __future__ import annotations

from typing import Any, ClassVar

from nnunet_ext.errors import UserError
from nnunet_ext.strategies.lose_channels import LoseChannels
from nnunet_ext.strategies.mirrors import Mirrors

KNOB = "channel_dropout"


class Augments(Mirrors):
    """Mix-in for trainers, left of ``nnUNetTrainer``: the knobs ``mirror_axes`` and ``channel_dropout``.

    Channels are lost after all other augmentation, in the workers that make the batches: with a seed they depend on
    nothing but seed, rank and step. Validation sees all channels.

    Raises:
        UserError: Channel dropout of images with one channel.
    """

    loses_channels_itself: ClassVar[bool] = False  # not in the workers; its steps use lose_channels
    dataset_json: dict[str, Any]
    plans_manager: Any

    @property
    def lose_channels(self) -> LoseChannels | None:
        """What fills lost channels of the dataset's images; None if none are lost."""
        names = self.dataset_json.get("channel_names", self.dataset_json.get("modality", ()))
        lost = self.knobs[KNOB] > 0 and len(names) > 1
        return LoseChannels(self.knobs[KNOB], len(names)) if lost else None

    def on_train_start(self) -> None:
        """Prepare the training as stock does, unless there is no second channel."""
        if self.knobs[KNOB] > 0 and self.lose_channels is None:
            raise UserError(
                f"plans {self.plans_manager.plans_name!r}, knob {KNOB!r}: expected images with at least two channels, "
                f"found one, which a training cannot do without. Set it to 0."
            )
        super().on_train_start()  # type: ignore[misc]

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:
        """Return stock's transforms, and last the one that loses channels."""
        composed = super().get_training_transforms(*args, **kwargs)  # type: ignore[misc]
        if self.lose_channels is not None and not self.loses_channels_itself:
            composed.transforms.append(self.lose_channels)
        return composed
