"""The collection trainer with VerSemi."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

from nnunet_ext.base.gpu_memory import GpuMemory
from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.collection.training.loaders import TaskLoader, samples_of_rank
from nnunet_ext.collection.training.mixed_loss import MixedStep
from nnunet_ext.collection.training.sampling import sampling_shares
from nnunet_ext.collection.training.schedule import shared_seed
from nnunet_ext.collection.training.trainer import MultiTaskTrainer
from nnunet_ext.errors import UserError
from nnunet_ext.methods.versemi.architecture import MixedHeads, VerSemi
from nnunet_ext.methods.versemi.card import WEIGHTS
from nnunet_ext.methods.versemi.foreground import TaskLabels, foregrounds
from nnunet_ext.methods.versemi.loader import ChannelSchedule, FramedLoader
from nnunet_ext.methods.versemi.loss import VerSemiLoss, VerSemiStep
from nnunet_ext.methods.versemi.mixing import draw_mixes
from nnunet_ext.methods.versemi.unlabelled_members import frame_sources
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.seeding.seeds import Purpose
from nnunet_ext.semi_supervised.teacher import FollowedByTeacher


class VerSemiTrainer(FollowedByTeacher, MultiTaskTrainer):
    """VerSemi [0] on the plans of a collection, some of whose members have unlabelled images.

    The network is DoDNet's, with one more task that only training sees: the synthetic one, the foreground of any task.
    Batches are mixed, as with ``multi_dataset.mixed_batches``; where members have different numbers of channels, each
    batch is of one of them. A step sees the labelled samples; half as many pairs of them, pasted into each other; and
    after the warm-up as many unlabelled images, each with a labelled box. Encoder and decoder run once for all.

    Unlabelled images are those of the members, and every member's labelled images, which are unlabelled for all other
    tasks. A member may have none, and so may all.

    With the four weights 0 it is :class:`DoDNetTrainer` with mixed batches, bit for bit.

    Knobs (plans blocks ``nnunet_ext.versemi``, ``nnunet_ext.dodnet`` for the network, and
    ``nnunet_ext.multi_dataset``).

    Not reproduced: a second stage that cannot run as published; masks that are applied to all samples of a batch
    alike; boxes that never touch the far border; Dice over a whole batch, in which large organs drown small ones; a
    checkpoint that is chosen on the test set. docs/versemi.md says what is ours.

    Raises:
        UserError: A batch of fewer than two samples for each GPU; ``versemi.detach=false`` with a teacher; unlabelled
            images that are not preprocessed with the members' plans, or that are validated on in a member.

    [0] Zeng et al., Segment together, IEEE TMI 2025, https://arxiv.org/abs/2311.11686
    (https://github.com/maxwell0027/VerSemi at e331a7b; none of it is used here)
    """

    method: ClassVar = "versemi"
    always_mixes: ClassVar = True
    _last_step: VerSemiStep

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  (nnU-Net's signature)
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.enable_deep_supervision = self.knobs["dodnet"]["deep_supervision"]
        own = self.knobs["versemi"]
        self._weights = [own[name] for name in WEIGHTS]
        if not own["detach"] and own["ema_decay"] is not None:
            raise UserError(
                f"plans {self.plans_manager.plans_name!r}: versemi.detach=false expects versemi.ema_decay=null, as "
                f"a teacher gets no gradient, got {own['ema_decay']}. Set ema_decay to null, or detach to true."
            )

    # network

    @classmethod
    def network_knobs(cls, knobs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return DoDNet's knobs, and whether the synthetic task is trained."""
        return {**knobs["dodnet"], "synthetic": any(knobs["versemi"][name] for name in WEIGHTS)}

    @classmethod
    def task_network_on(
        cls, unet: Any, knobs: Mapping[str, Any], table: TaskTable, patch_size: Sequence[int]
    ) -> VerSemi:
        """Build the network for the tasks of the table."""
        network = VerSemi.planned(unet, knobs, table)
        network.synthetic.requires_grad_(knobs["synthetic"])
        return network

    @classmethod
    def unet_outputs(cls, knobs: Mapping[str, Any], table: TaskTable) -> int:
        """What the dynamic head works on."""
        return knobs["head_width"]

    @property
    def ema_decay(self) -> float | None:
        """The teacher's decay; None without a teacher, or with nothing that needs one."""
        decay: float | None = self.knobs["versemi"]["ema_decay"]
        return decay if any(self._weights) else None

    # before the training

    @property
    def _pastes(self) -> bool:
        """Whether labelled samples are pasted into each other."""
        return any(self._weights[:2])

    @property
    def _takes_unlabelled(self) -> bool:
        return any(self._weights[2:])

    def _check_batch(self) -> None:
        super()._check_batch()
        ranks = distributed.get_world_size() if self.is_ddp else 1
        batch = self.configuration_manager.batch_size
        if self.members and self._pastes and batch // ranks < 2:
            raise UserError(
                f"plans {self.plans_manager.plans_name!r}: {type(self).__name__} pastes pairs of labelled images and "
                f"expects a batch of at least 2 on each GPU, got {batch // ranks}. Raise batch_size in the plans of "
                f"all members, or use fewer GPUs."
            )

    def initialize(self) -> None:
        """Build network, optimizer and loss; the log has each task's mean foreground on unlabelled images."""
        super().initialize()
        if any(self._weights):
            self.logger.local_logger.add([_foreground_of(task.name) for task in self.table.tasks])

    def needed_gpu_memory(self, free: int) -> GpuMemory:
        """Return the estimate for labelled samples, pairs and frames together."""
        pairs = self.batch_size // 2 if self._pastes else 0
        return self._gpu_memory(self.batch_size * (1 + self._takes_unlabelled) + pairs)

    def _build_loss(self) -> nn.Module:
        loss = super()._build_loss()
        if not self.members or not any(self._weights):
            return loss
        own = self.knobs["versemi"]
        return VerSemiLoss(
            loss,
            self.member_losses(enable_deep_supervision=False),
            self._task_labels,
            weights=self._weights,
            aggregate=own["aggregate"],
            threshold=own["other_task_threshold"],
        )

    @property
    def _task_labels(self) -> list[TaskLabels]:
        found = [member.context.label_manager for member in self.members]
        return [TaskLabels(each.num_segmentation_heads, each.has_regions, each.ignore_label) for each in found]

    # loading

    def training_loader(self, loaders: list[Any]) -> Callable[..., TaskLoader]:
        """Return what makes mixed batches, and unlabelled frames after the warm-up."""
        mine = samples_of_rank(int(self.batch_size))
        return partial(
            FramedLoader,
            loaders,
            self.schedule(mine["together"]),
            **mine,
            heads=self.table.heads,
            sources=frame_sources(self) if self._takes_unlabelled else (),
            channels=self._channels,
            within=self.knobs["versemi"]["mix"] == "within",
            first_framed=self._warm_up_steps,
        )

    def schedule(self, together: int) -> Callable[[int], int]:
        """Return the task of each sample; those of a step have as many channels."""
        shares = sampling_shares(self.table, self.knobs["multi_dataset"]["sampling"])
        steps, seed = self.num_iterations_per_epoch, shared_seed(self.knobs["seed"])
        return ChannelSchedule(shares, self._channels, steps, together, seed)

    @property
    def _channels(self) -> list[int]:
        return [task.channels for task in self.table.tasks]

    # steps

    @property
    def _warm_up_steps(self) -> float:
        return self.knobs["versemi"]["warm_up"] * self.num_epochs * self.num_iterations_per_epoch

    def _ramp(self, step: int) -> float:
        """What the weight of the agreement is multiplied by: it grows linearly after the warm-up."""
        length = self.knobs["versemi"]["ramp"] * self.num_epochs * self.num_iterations_per_epoch
        return min((step - self._warm_up_steps) / length, 1.0) if length else 1.0

    def train_step(self, batch: dict) -> dict:
        """Paste, then step."""
        if not any(self._weights):
            return super().train_step(batch)
        output = super().train_step(self.with_mixes(batch))
        step = self.__dict__.pop("_last_step")  # its tensors must not stay
        return output | {"foreground": list(step.foreground.items())}

    def with_mixes(self, batch: dict) -> dict:
        """Return a batch with mixed samples after the labelled ones, and how they were mixed."""
        images, frames = batch["data"].to(self.device, non_blocking=True), batch.get("unlabelled")
        frames = frames if frames is None else frames.to(self.device, non_blocking=True)
        seeds = self.batch_seeds(Purpose.BOXES, self.num_iterations_per_epoch)
        mixes = draw_mixes(
            images.shape[2:],
            batch["task"],
            batch.get("framed", ()),
            np.random.default_rng(None if seeds is None else seeds.at(batch["step"])),
            pairs=self._pastes,
            within=self.knobs["versemi"]["mix"] == "within",
            warms_up=batch["step"] < self._warm_up_steps,
        ).to(self.device)
        mixed = mixes.images(images, frames)
        return batch | {"data": torch.cat((images, mixed)), "mixes": mixes, "mixed": mixed}

    def mixed_step(self, batch: dict) -> MixedStep:
        """Tell the network which heads mixed samples get, and return labels, mixes and what the teacher finds."""
        if not any(self._weights):
            return super().mixed_step(batch)
        mixes, tasks = batch["mixes"], [int(task) for task in batch["task"]]
        fitting = [number for number, channels in enumerate(self._channels) if channels == self._channels[tasks[0]]]
        of_pairs = [[tasks[sample] for sample in side] for side in (mixes.outside, mixes.inside)]
        own = self.knobs["versemi"]
        masks = own["other_task_threshold"] is not None and len(fitting) > 1
        first = 0 if masks else len(mixes.outside)  # without masks, only frames need the tasks' foreground
        wanted = fitting if len(mixes) > first else []
        teachers = None
        if wanted and self.ema_decay is not None:
            teachers, wanted = self._teachers_foreground(batch["mixed"][first:], fitting), []
        network: Any = self.task_network
        network.set_mixed(MixedHeads(len(mixes), of_pairs[0], of_pairs[1], wanted, own["detach"]))
        self._last_step = VerSemiStep(
            batch["target"],
            batch["task"],
            batch["valid"],
            mixes,
            self._labels_of_samples(batch),
            fitting,
            teachers,
            self._ramp(batch["step"]),
        )
        return self._last_step

    @torch.no_grad()
    def _teachers_foreground(self, images: Tensor, tasks: Sequence[int]) -> Tensor:
        network: Any = self.teacher().network
        network.set_task(*tasks)
        with torch.autocast(self.device.type, enabled=self.device.type == "cuda"):
            logits = network(images)
        return foregrounds(logits, [self._task_labels[task] for task in tasks])

    def _labels_of_samples(self, batch: dict) -> list[Tensor]:
        """Return the target of each labelled sample at full resolution."""
        numbers = np.unique(batch["task"])
        scales = len(batch["target"]) // len(numbers)
        return [
            sample.to(self.device, non_blocking=True)
            for place in range(len(numbers))
            for sample in batch["target"][place * scales].split(1)
        ]

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log the loss as stock does, each task's, the terms, and each task's mean foreground on unlabelled images."""
        super().on_train_epoch_end(train_outputs)
        if not any(self._weights):
            return
        found = [pair for output in train_outputs for pair in output["foreground"]]
        found = [pair for of_rank in Ranks.now().gather(found) for pair in of_rank]
        for number, task in enumerate(self.table.tasks):
            theirs = [mean for place, mean in found if place == number]
            mean = float(np.mean(theirs)) if theirs else math.nan
            self.logger.log(_foreground_of(task.name), mean, self.current_epoch)
            if theirs:
                self.print_to_log_file(f"{_foreground_of(task.name)} {mean:.4f}")


def _foreground_of(task: str) -> str:
    return f"foreground of {task} on unlabelled images"
