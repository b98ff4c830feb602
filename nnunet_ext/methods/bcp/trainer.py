"""nnU-Net's trainer with bidirectional copy-paste of labelled and unlabelled images."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, distributed

from nnunet_ext.errors import UserError
from nnunet_ext.methods.bcp.loss import BCPLoss, BCPStep
from nnunet_ext.methods.bcp.pseudo_labels import pseudo_labels
from nnunet_ext.seeding.seeds import Purpose
from nnunet_ext.semi_supervised.losses import target_at
from nnunet_ext.semi_supervised.random_box import random_box
from nnunet_ext.semi_supervised.teacher import TeacherTrainer


class BCPTrainer(TeacherTrainer):
    """Bidirectional copy-paste [0] on any nnU-Net plans.

    Half of a batch are labelled images with a box of an unlabelled one, the other half unlabelled images with a box of
    a labelled one; labels are pasted alike, those of unlabelled images by a teacher, the moving average of the student,
    which sees them before they are pasted. In a warm-up labelled images are pasted into each other. The student is the
    plans' own network and predicts; its checkpoints load into stock nnU-Net.

    Pasting follows augmentation, on the device, and channels that the student loses (knob ``channel_dropout``) are
    lost after it; the teacher sees all. One box at a random place serves all samples of a step. One sample of an odd
    batch, chosen at random, is left out.

    Knobs (plans blocks ``nnunet_ext.bcp`` and ``nnunet_ext.unlabelled``): ``warm_up``, ``pseudo_label_weight``,
    ``box``, ``largest_component``; ``ema_decay``.

    Not reproduced: a teacher in train mode for pseudo-labels; two student passes, of which each updates batch norm;
    Dice of a part in which the rest counts as background; components on the CPU in each step, of each class the
    largest, which is wrong for lesions and paired organs (``largest_component``); boxes that never touch the far
    border; a ramp that is computed and never used; best checkpoint chosen on the test set.

    Differences from [0], and why:

    * One training: the teacher averages from the first step on, and optimizer and learning rate continue after the
      warm-up. They start a second training from the first one's best network on the test set.
    * The warm-up pastes each pair of images both ways, so a batch stays as large; theirs one way.
    * nnU-Net's Dice + cross-entropy, over all its scales; theirs is half of it, at full resolution, and its Dice has
      the background. nnU-Net's optimizer and augmentation.
    * The average is over parameters and buffers, for plans with batch norm; theirs in 3d over parameters.

    Raises:
        UserError: A batch of fewer than two labelled samples; another number of unlabelled ones.

    [0] Bai et al., Bidirectional copy-paste for semi-supervised medical image segmentation, CVPR 2023,
    https://arxiv.org/abs/2305.00673 (https://github.com/DeepMed-Lab-ECNU/BCP at 7879f98; none of it is used here)
    """

    method: ClassVar = "bcp"
    loses_channels_itself: ClassVar = True  # pasting would bring them back

    def _check_batch(self) -> None:
        super()._check_batch()
        plans, batch = self.plans_manager.plans_name, self.configuration_manager.batch_size
        on_each = batch // distributed.get_world_size() if self.is_ddp else batch
        if on_each < 2:
            raise UserError(
                f"plans {plans!r}, configuration {self.configuration_name!r}: BCPTrainer pastes pairs of labelled "
                f"images and expects a batch of at least 2 on each GPU, got {on_each}. Raise batch_size in the plans, "
                f"or use fewer GPUs."
            )
        unlabelled = self.knobs["unlabelled"]["batch_size"]
        if unlabelled not in (None, batch):
            raise UserError(
                f"plans {plans!r}: BCPTrainer expects as many unlabelled samples in a batch as labelled ones, {batch}, "
                f"got the knob unlabelled.batch_size {unlabelled}. Set it to null."
            )

    def samples_of_parts(self) -> tuple[int, int]:
        """Return the number of samples that are mostly labelled, and mostly unlabelled: pasting adds none."""
        return self.batch_size // 2, self.batch_size // 2

    def _build_loss(self) -> BCPLoss:
        labels = self.label_manager
        return BCPLoss(
            super()._build_loss(),
            super()._build_loss(),
            regions=labels.num_segmentation_heads if labels.has_regions else None,
            ignore_label=labels.ignore_label,
            weight=self.knobs["bcp"]["pseudo_label_weight"],
        )

    def train_step(self, batch: dict) -> dict:
        """Paste, then step."""
        scales = batch["target"]
        images = batch["data"].to(self.device, non_blocking=True)
        target = (scales[0] if isinstance(scales, list) else scales).to(self.device, non_blocking=True)
        generator = self._generator(batch["step"])
        half = len(images) // 2
        order = torch.from_numpy(generator.permutation(len(images))[: 2 * half]).to(self.device)
        box = random_box(images.shape[2:], self.knobs["bcp"]["box"], generator).to(self.device)
        warms_up = self._warms_up(batch["step"])
        if warms_up:
            images, target = (_paste(each[order], each[order].roll(half, 0), box) for each in (images, target))
        else:
            unlabelled = batch["unlabelled"][: 2 * half].to(self.device, non_blocking=True)
            guessed = self._pseudo_labels(unlabelled, target)
            images, target = (
                _paste(torch.cat((known[:half], other[half:])), torch.cat((other[:half], known[half:])), box)
                for known, other in ((images[order], unlabelled), (target[order], guessed))
            )
        if self.lose_channels is not None:
            self.lose_channels.lose(images, generator)
        if isinstance(scales, list):
            target = [target_at(target, scale.shape[2:]) for scale in scales]
        pasted = {"data": images[:half], "unlabelled": images[half:], "target": target}
        return super().train_step(batch | pasted | {"box": None if warms_up else box})

    def training_step(self, batch: dict) -> BCPStep:
        """Return labels and pseudo-labels pasted alike, and where."""
        return BCPStep(batch["target"], batch["box"])

    def _generator(self, step: int) -> np.random.Generator:
        """With a seed, what a step draws depends on nothing but seed, rank and step."""
        seeds = self.batch_seeds(Purpose.BOXES, self.num_iterations_per_epoch)
        return np.random.default_rng(None if seeds is None else seeds.at(step))

    def _warms_up(self, step: int) -> bool:
        return step < self.knobs["bcp"]["warm_up"] * self.num_epochs * self.num_iterations_per_epoch

    @torch.no_grad()
    def _pseudo_labels(self, images: Tensor, like: Tensor) -> Tensor:
        """Return the teacher's labels in the form of a target: none of them is ignored."""
        with self.autocast():
            logits = self.teacher().network(images)
        found = pseudo_labels(
            logits,
            regions=self.label_manager.has_regions,
            largest_component=self.knobs["bcp"]["largest_component"],
        ).to(like.dtype)
        return torch.cat((found, found.new_zeros(len(found), like.shape[1] - found.shape[1], *found.shape[2:])), 1)


def _paste(frames: Tensor, boxes: Tensor, box: Tensor) -> Tensor:
    return torch.where(box, boxes, frames)
