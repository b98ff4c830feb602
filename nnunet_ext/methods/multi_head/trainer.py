"""The collection trainer with a set of heads per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.collection.training.trainer import MultiTaskTrainer
from nnunet_ext.methods.multi_head.architecture import MultiHead


class MultiHeadTrainer(MultiTaskTrainer):
    """The control for UniSeg: the same machinery and plans, no prompt, one set of heads per task as MultiTalent [0].

    [0] Ulrich et al., MultiTalent, MICCAI 2023, https://arxiv.org/abs/2303.14444
    """

    method: ClassVar = "multi_head"

    @classmethod
    def task_network_on(
        cls,
        unet: PlainConvUNet | ResidualEncoderUNet,
        knobs: Mapping[str, Any],
        table: TaskTable,
        patch_size: Sequence[int],
    ) -> MultiHead:
        """Build MultiHead for the tasks of the table."""
        return MultiHead(unet, heads=table.heads, channels=table.channel_numbers)

    @classmethod
    def unet_outputs(cls, knobs: Mapping[str, Any], table: TaskTable) -> int:
        """All tasks' heads."""
        return sum(table.heads)
