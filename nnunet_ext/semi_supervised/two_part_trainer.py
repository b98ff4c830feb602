"""A trainer whose batch has two parts, labelled and unlabelled samples, which may run one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from nnunet_ext.base.gpu_memory import GpuMemory
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.errors import UserError
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.semi_supervised.checkpointed_parts import CheckpointedParts, mixes_samples


class TwoPartTrainer(ExtTrainer):
    """Stock nnU-Net with room for unlabelled samples in a batch, and on request with the memory of one part.

    With the knob ``unlabelled.checkpoint_halves`` the network sees the parts one after the other
    (:class:`CheckpointedParts`). By default that happens if the whole batch does not fit the GPU.

    Raises:
        UserError: The knob is set with batch norm, which mixes samples.
    """

    checkpoints_halves = False
    keeps_no_classes = "whose batches have unlabelled images"
    memory_remedy = (
        "Set the knob unlabelled.checkpoint_halves=true or a smaller unlabelled.batch_size, or plan with a smaller "
        "-gpu_memory_target, by a planner that counts this method's memory (-pl)."
    )

    def initialize(self) -> None:
        """Build network, optimizer and loss."""
        super().initialize()
        self.checkpoints_halves = self.knobs["unlabelled"]["checkpoint_halves"] is True
        if self.checkpoints_halves and mixes_samples(self.network):
            raise UserError(
                f"plans {self.plans_manager.plans_name!r}: knob unlabelled.checkpoint_halves expects a normalization "
                f"that keeps samples apart, got batch norm. Set it to false, or plan with instance norm."
            )

    def samples_of_parts(self) -> tuple[int, int]:
        """Return how many samples each of the two parts of this rank's batch has."""
        return self.batch_size, self._unlabelled_batch_size()

    def _joint_unlabelled_batch_size(self) -> int:
        """Unlabelled samples in a step of all ranks."""
        return self.knobs["unlabelled"]["batch_size"] or self.configuration_manager.batch_size

    def _unlabelled_batch_size(self) -> int:
        """Unlabelled samples in a step of this rank."""
        samples = self._joint_unlabelled_batch_size()
        if not self.is_ddp:
            return samples
        ranks = Ranks.now()
        return samples // ranks.world_size + (ranks.rank < samples % ranks.world_size)

    def needed_gpu_memory(self, free: int) -> GpuMemory:
        """Return the estimate; parts run one by one if the knob says so, or by default if the batch does not fit."""
        parts = self.samples_of_parts()
        whole, one = self._gpu_memory(sum(parts)), self._gpu_memory(max(parts))
        if self.knobs["unlabelled"]["checkpoint_halves"] is None:
            self.checkpoints_halves = whole.planned > free and not mixes_samples(self.bare_network)
            if self.checkpoints_halves:
                self.print_to_log_file(
                    "Labelled and unlabelled samples run one after the other, to save memory "
                    "(knob unlabelled.checkpoint_halves)."
                )
        return one if self.checkpoints_halves else whole

    @contextlib.contextmanager
    def _parts_one_by_one(self, sizes: Sequence[int]) -> Iterator[None]:
        """Let the network see labelled and unlabelled samples one after the other, if requested."""
        if not self.checkpoints_halves or len(sizes) < 2:
            yield
            return
        holder, name = (self.network, "module") if self.is_ddp else (self, "network")
        network = getattr(holder, name)
        setattr(holder, name, CheckpointedParts(network, sizes))
        try:
            yield
        finally:
            setattr(holder, name, network)
