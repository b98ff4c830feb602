"""nnU-Net's trainer with a mean teacher on unlabelled images."""

from __future__ import annotations

from typing import ClassVar

import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from torch import Tensor

from nnunet_ext.methods.mean_teacher.loss import MeanTeacherLoss, MeanTeacherStep
from nnunet_ext.methods.mean_teacher.two_views import TwoViews
from nnunet_ext.semi_supervised.losses import probabilities
from nnunet_ext.semi_supervised.teacher import TeacherTrainer


class MeanTeacherTrainer(TeacherTrainer):
    """Mean Teacher [0] in the form of [1] without its uncertainty, on any nnU-Net plans.

    The student is the plans' own network, trained as stock nnU-Net does. Its probabilities of the unlabelled images are
    drawn towards those of the teacher, the moving average of its weights, which sees the same patches with noise, or
    with ``views=weak_strong`` less augmented than the student does (:class:`TwoViews`). The student predicts; its
    checkpoints load into stock nnU-Net.

    Knobs (plans blocks ``nnunet_ext.mean_teacher`` and ``nnunet_ext.unlabelled``): ``consistency_weight``, ``noise``,
    ``views``; ``batch_size``, ``ramp``, ``ema_decay``.

    Not reproduced: teacher and student on patches of two loaders, whose predictions have nothing to do with each other;
    a step on the labelled loss first, whose next ``zero_grad`` discards the gradient of the agreement; an average taken
    once an epoch; hard-coded two classes; a teacher's normalization statistics that never follow the student's.

    Differences from [1], and why:

    * The teacher is in eval mode; theirs has dropout and batch statistics on. nnU-Net's networks have neither.
    * The average is over parameters and buffers, for plans with batch norm; theirs over parameters.
    * The weight grows with every step over 0.4 of the training, however long it is; theirs in steps every 150
      iterations, and reaches its full value at the very end.
    * The difference counts half of its sum over classes, the mean of [1] for two; theirs is the mean over classes.
    * Supervision, optimizer and augmentation are nnU-Net's. The noise of 0.1 assumes images of unit variance, which
      z-scores are, but not all of nnU-Net's schemes for other images.

    [0] Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017, https://arxiv.org/abs/1703.01780
    [1] Yu et al., Uncertainty-aware self-ensembling model, MICCAI 2019, https://arxiv.org/abs/1907.07034
    (https://github.com/yulequan/UA-MT at 88ed29a; none of it is used here)
    """

    method: ClassVar = "mean_teacher"

    def _build_loss(self) -> MeanTeacherLoss:
        return MeanTeacherLoss(super()._build_loss(), regions=self.label_manager.has_regions)

    def train_step(self, batch: dict) -> dict:
        """Stock step; the teacher has its own view of the unlabelled images."""
        images = batch["unlabelled"].to(self.device, non_blocking=True)
        if self._has_two_views:
            images, teachers = images.chunk(2, 1)
        else:
            noise = self.knobs["mean_teacher"]["noise"]
            teachers = images + (noise * torch.randn_like(images)).clamp(-2 * noise, 2 * noise)
        return super().train_step(batch | {"unlabelled": images, "teachers": teachers})

    def training_step(self, batch: dict) -> MeanTeacherStep:
        """Return the labels, and the teacher's probabilities of the unlabelled images."""
        weight = self.knobs["mean_teacher"]["consistency_weight"] * self.ramped(batch["step"])
        return MeanTeacherStep(batch["target"], self._teachers_probabilities(batch["teachers"]), weight)

    def unlabelled_transforms(self, stock: ComposeTransforms) -> ComposeTransforms:
        """Stock augmentation; with ``views=weak_strong`` in two views."""
        return TwoViews(stock) if self._has_two_views else stock

    @property
    def _has_two_views(self) -> bool:
        return self.knobs["mean_teacher"]["views"] == "weak_strong"

    @torch.no_grad()
    def _teachers_probabilities(self, images: Tensor) -> Tensor:
        with self.autocast():
            logits = self.teacher().network(images)
        return probabilities(logits, regions=self.label_manager.has_regions)
