"""The collection trainer with UniSeg's network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.collection.training.trainer import MultiTaskTrainer
from nnunet_ext.methods.uniseg.architecture import UniSeg


class UniSegTrainer(MultiTaskTrainer):
    """UniSeg [0] on the plans of a collection: one network, a learnable prompt, heads that all tasks share.

    Differences from the authors' training: each member keeps its own spacing and nnU-Net v2's normalization (theirs:
    CT to [0, 1]); nnU-Net v2's augmentation and loss; the tasks' order is exact per epoch (theirs approximately);
    logits are cut to the task's classes before softmax, at inference too.

    Knob (plans block ``nnunet_ext.uniseg``): ``v1_decoder_kernels``.

    [0] Ye et al., UniSeg, MICCAI 2023, https://arxiv.org/abs/2304.03493
    """

    method: ClassVar = "uniseg"

    @classmethod
    def task_network_on(
        cls,
        unet: PlainConvUNet | ResidualEncoderUNet,
        knobs: Mapping[str, Any],
        table: TaskTable,
        patch_size: Sequence[int],
    ) -> UniSeg:
        """Build UniSeg for the tasks of the table."""
        return UniSeg(
            unet,
            heads=table.heads,
            channels=table.channel_numbers,
            patch_size=patch_size,
            decoder_kernel_sizes=unet.encoder.kernel_sizes[1:] if knobs["v1_decoder_kernels"] else None,
        )
