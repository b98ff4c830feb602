"""nnU-Net's trainer for pre-training without labels."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import maybe_mkdir_p
from nnunetv2.utilities.collate_outputs import collate_outputs
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor, nn

from nnunet_ext.base.validated_checkpoint import write_validated_checkpoint
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import whole_file, write_json
from nnunet_ext.methods.masked_autoencoder.figure import restored_figure
from nnunet_ext.methods.masked_autoencoder.pretraining_trainer import PretrainingTrainer
from nnunet_ext.methods.masked_autoencoder.validation import Restoration, controls, squared_errors
from nnunet_ext.nnssl.encoder_weights import KEY as ADAPTATION
from nnunet_ext.nnssl.written_plan import written_plan
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.semi_supervised.masked.hidden_patch import HiddenPatch, masked_error
from nnunet_ext.weights.roles import RESTORES

CURVES = ("blurring", "constant")  # in progress_parts.png, beside the validation loss
FIGURES = 10  # of a training


class MaskedAutoencoderTrainer(PretrainingTrainer):
    """Pre-training: the plans' own U-Net restores hidden blocks of images [0], in the dense form of [1].

    It trains on unlabelled images and on those of the fold's training cases, of which no label is looked at, and is
    validated on the fold's validation cases: where there are none, on a tenth of the images, which it then does not
    train on. Of each patch three quarters of the blocks are hidden, the same ones in all channels; the loss is the mean
    squared error over hidden voxels inside the image. Patch, batch, normalization, rotation, scaling and mirroring are
    the plans'; intensities are not augmented.

    The network has an output for each input channel, in the place of classes; its checkpoint has all tensors of the
    segmentation network but for the heads. So stock nnU-Net takes it with ``-pretrained_weights``, and our trainers
    with the knob ``init_from``; the heads then start fresh. It segments nothing and refuses to predict.

    Validation patches and what is hidden of them are the same in all epochs. They are also blurred: what four
    normalized Gaussians of the visible voxels guess needs no learning, and a network that is not better has learnt
    nothing else. ``val_losses`` is the masked error; what nnU-Net calls pseudo Dice, and by which it chooses the best
    checkpoint, is the share of the constant's error that the network removes.

    Knobs (plans block ``nnunet_ext.masked_autoencoder``): ``ratio``, ``block_mm``, ``per_channel``,
    ``exclude_padding``, ``labelled_images``.

    Differences from [1], and why:

    * Any plans, 2d and 3d, any number of channels; theirs is one network on patches of 160 voxels and one channel.
    * Blocks are about 16 mm, not 16 voxels, and need not divide the patch.
    * Padding does not count; in theirs it does.
    * The loss is the mean over samples, not over all voxels of a batch: it does not depend on how GPUs share a batch.
    * The masks of validation are fixed; theirs are drawn again in each epoch.

    Raises:
        UserError: A collection, a cascade's second stage, a network without segmentation heads, fewer than two images
            or two blocks; unlabelled images that are not preprocessed with these plans; the knob ``channel_dropout``.

    [0] He et al., Masked autoencoders are scalable vision learners, CVPR 2022, https://arxiv.org/abs/2111.06377
    [1] Wald et al., Revisiting MAE pre-training for 3D medical image segmentation, CVPR 2025,
    https://arxiv.org/abs/2410.23132 (https://github.com/MIC-DKFZ/nnssl at 7044864; none of it is used here)
    """

    method: ClassVar = "masked_autoencoder"
    keeps_no_classes: ClassVar[str] = "which looks at no label"
    _controls: np.ndarray | None = None  # sums of squared errors of the constant and of four Gaussians
    _shown: tuple[np.ndarray, ...] | None = None  # image, hidden, restored of the first validation patch

    # network

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Build the network that the plans describe with an output for each input channel.

        Raises:
            UserError: It has no segmentation heads, whose number of outputs could be that; or it is to predict, for
                which nnU-Net builds it without deep supervision.
        """
        if not enable_deep_supervision:
            raise UserError(
                f"{cls.__name__}: expected a model that segments, found one that restores images. Train "
                f"another trainer with the knob init_from set to its checkpoint, and predict with that."
            )
        sizes = num_input_channels, num_input_channels, enable_deep_supervision
        network = super().build_network_architecture(plans_manager, configuration_manager, *sizes)
        heads = getattr(getattr(network, "decoder", None), "seg_layers", None)
        if heads is None or any(getattr(head, "out_channels", None) != num_input_channels for head in heads):
            raise UserError(
                f"plans {plans_manager.plans_name!r}: expected a network with decoder.seg_layers, one output for each "
                f"class, found {type(network).__name__} without. Plan with nnU-Net's planners or those of nnunet_ext."
            )
        return network

    def initialize(self) -> None:
        """Build network, optimizer and loss, after refusing what cannot be pre-trained."""
        table = TaskTable.read(self.plans_manager.plans)
        if table is not None and table.bound is None:
            raise UserError(
                f"{type(self).__name__}: expected one dataset, found the collection {table.collection}. Pre-train on "
                f"its members one by one."
            )
        if self.is_cascaded:
            raise UserError(
                f"{type(self).__name__}: expected a configuration of one stage, got {self.configuration_name!r}, which "
                f"reads predictions of another. Train 3d_fullres or 3d_lowres."
            )
        if self.knobs["channel_dropout"] > 0:
            raise UserError(
                f"plans {self.plans_manager.plans_name!r}, knob 'channel_dropout': expected 0 for "
                f"{type(self).__name__}, which restores all channels, got {self.knobs['channel_dropout']}. Set it to 0."
            )
        number = self.blocks.hidden(self._own["ratio"])
        self.print_to_log_file(f"Hidden: {number} of {self.blocks.number} blocks of {self.blocks.size} voxels")
        super().initialize()
        self.logger.local_logger.add(CURVES)

    def _build_loss(self) -> Callable[[Any, HiddenPatch], Tensor]:
        return masked_error

    # steps

    def hidden_patch(self, batch: dict) -> HiddenPatch:
        """Return a batch's images on the device, and what is hidden of them."""
        return self.hiding.patch(batch, self.device)

    @property
    def is_zero(self) -> list[bool]:
        """For each channel, whether hidden voxels are 0, the mean after z-scores."""
        return list(self.hiding.is_zero)

    def train_step(self, batch: dict) -> dict:
        """Stock step, on images of which a part is hidden."""
        patch = self.hidden_patch(batch)
        return super().train_step(batch | {"data": patch.input(self.is_zero), "target": patch})

    @torch.no_grad()
    def validation_step(self, batch: dict) -> dict:
        """Return the loss, and what masked errors are made of: of the network and, the first time, of the controls."""
        patch = self.hidden_patch(batch)
        seen = patch.input(self.is_zero)
        with torch.autocast("cuda") if self.device.type == "cuda" else contextlib.nullcontext():
            output = self.network(seen)
        guesses = [output[0] if isinstance(output, list) else output]
        if self._shown is None:
            parts = patch.images, patch.hidden.expand_as(patch.images), guesses[0].float()
            self._shown = tuple(part[0, 0].cpu().numpy() for part in parts)
        if self._controls is None:
            guesses += controls(patch, seen, self.blocks.size)
        sums = squared_errors(patch, guesses).sum(0)
        return {"loss": np.asarray(sums[0] / max(sums[-1], 1.0)), "sums": sums}

    def on_validation_epoch_start(self) -> None:
        """Start as stock does."""
        super().on_validation_epoch_start()
        self._shown = None

    def restoration(self, val_outputs: list[dict]) -> Restoration:
        """Return the errors over all validation steps and ranks."""
        sums = np.sum(Ranks.now().gather(collate_outputs(val_outputs)["sums"].sum(0)), axis=0)
        if self._controls is None:
            self._controls = sums[1:-1]
        return Restoration.of(np.concatenate((sums[:1], self._controls, sums[-1:])))

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """Log the masked error, that of the controls, and the share that is restored in the place of a Dice."""
        found, epoch = self.restoration(val_outputs), self.current_epoch
        self.logger.log("mean_fg_dice", found.share, epoch)
        self.logger.log("dice_per_class_or_region", [found.share], epoch)
        self.logger.log("val_losses", found.network, epoch)
        for name, value in zip(CURVES, (found.blurring, found.constant), strict=True):
            self.logger.log(name, value, epoch)
        self.print_to_log_file(f"Restored ('pseudo Dice' below is the share of the constant's error): {found.line()}")
        if epoch + 1 in {math.ceil(self.num_epochs * part / FIGURES) for part in range(1, FIGURES + 1)}:
            self._draw(Path(self.output_folder) / "restored" / f"epoch_{epoch + 1:04d}.png", found)

    def _draw(self, file: Path, found: Restoration) -> None:
        if not Ranks.now().is_first or self._shown is None:
            return
        image, hidden, restored = self._shown
        maybe_mkdir_p(str(file.parent))
        spacing = self.configuration_manager.spacing[-image.ndim :]
        with whole_file(file) as partial_file:
            figure = restored_figure(image, hidden, restored, spacing, f"{file.stem}: {found.line()}")
            figure.savefig(partial_file, dpi=100, format="png")

    def validate_dataset(self, save_probabilities: bool) -> None:
        """Measure the masked errors once more; ``validation`` holds them and a figure, and no segmentation."""
        folder = Path(self.output_folder) / "validation"
        with self.fold_locked():
            self.network.eval()
            self._shown = None
            patches = self._fixed_patches()()
            found = self.restoration(
                [self.validation_step(next(patches)) for _ in range(self.num_val_iterations_per_epoch)]
            )
            self.print_to_log_file(f"Final: {found.line()}")
            self._draw(folder / "restored.png", found)
            if Ranks.now().is_first:
                write_json(folder / "summary.json", {"trainer": type(self).__name__} | found.as_json())
                write_validated_checkpoint(folder, self._weights_of)

    # checkpoints

    def data_record(self) -> dict[str, Any]:
        """Return what a checkpoint records of the data, and that its network restores images."""
        return super().data_record() | {RESTORES: True}

    def further_entries(self) -> dict[str, Any]:
        """Return nnssl's adaptation plan where there can be one, and the log as numbers that need no numpy."""
        given = self.plans_manager, self.configuration_manager, self.configuration_name, self.bare_network
        plan = written_plan(*given, self.num_input_channels)
        log = {
            name: [value.item() if isinstance(value, np.generic) else value for value in values]
            for name, values in self.logger.get_checkpoint().items()
        }
        return super().further_entries() | {"logging": log} | ({} if plan is None else {ADAPTATION: plan})
