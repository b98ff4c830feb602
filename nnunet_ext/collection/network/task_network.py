"""The base class of the networks of all collection trainers."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_ext.errors import UserError


class TaskNetwork(nn.Module, abc.ABC):
    """A network that is told which task to segment.

    What does not depend on the task is computed by :meth:`encode`, once for all tasks of :meth:`set_task`.

    Args:
        heads: Logits of each task: classes with background, or regions.
    """

    encoder: Any  # modules; their kinds differ
    decoder: Any

    def __init__(self, heads: Sequence[int]) -> None:
        super().__init__()
        self.heads = tuple(heads)
        self._tasks = torch.full((1,), -1)  # no task yet; not a buffer: DDP would broadcast it in every forward
        self._several: tuple[int, ...] = ()
        self._mixed = False

    def set_task(self, *tasks: int) -> None:
        """Choose the task of the next forwards, for all samples; torch.compile does not recompile for it.

        With several tasks, in eval mode without deep supervision, a forward returns the logits of all of them.

        Raises:
            ValueError: No such task, or no task at all.
        """
        self._check(tasks)
        self._choose(tasks[:1])
        self._several = tasks if len(tasks) > 1 else ()
        self._mixed = False

    def set_sample_tasks(self, tasks: Sequence[int]) -> None:
        """Choose a task for each sample of the next forward, which returns the logits of all shared heads, uncut.

        Raises:
            ValueError: No such task, or no task at all.
        """
        self._check(tasks)
        self._choose(tasks)
        self._several, self._mixed = (), True

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Segment images (B, C, D, H, W) for the task of :meth:`set_task`.

        Returns:
            Logits (B, K, D, H, W) of the task's K heads, or with ``decoder.deep_supervision`` their list over scales;
            for several tasks their logits side by side, (B, K1 + K2 + ..., D, H, W); with :meth:`set_sample_tasks` as
            many heads as the largest task has.

        Raises:
            UserError: No task was set: the model of a whole collection was given to a command for one dataset.
        """
        shared = self.encode(x)
        if self._several:
            return torch.cat([self._one_of_several(shared, task, x) for task in self._several], 1)
        return self._slice(self.decode(shared, self._tasks.to(x.device).expand(len(x))))

    @abc.abstractmethod
    def encode(self, x: Tensor) -> Any:
        """Return what does not depend on the task."""

    @abc.abstractmethod
    def decode(self, shared: Any, tasks: Tensor) -> Tensor | list[Tensor]:
        """Return logits for ``tasks`` (B), one for each sample, with as many heads as the largest task has."""

    @abc.abstractmethod
    def adopt(
        self, weights: Mapping[str, Tensor], heads: Sequence[int], places: Sequence[int | None]
    ) -> dict[str, Tensor]:
        """Return another such network's weights in the shapes of this one, so that the tasks they share work as before.

        From a network of another width, patch or number of stages, what fits is moved. The rest is left in the file's
        shape, or left out where it would not work without its neighbours, so that what happened to each tensor can be
        reported.

        Args:
            weights: State dict of another network.
            heads: That network's ``heads``.
            places: For each task of ours, its number in that network, or None if it is new.
        """

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the convolution feature-map elements of one sample, as nnU-Net's planner counts them."""
        parts: tuple[Any, ...] = (self.encoder, self.decoder)
        return sum(part.compute_conv_feature_map_size(input_size) for part in parts)

    def _check(self, tasks: Sequence[int]) -> None:
        for task in tasks if len(tasks) else (-1,):
            if not 0 <= task < len(self.heads):
                raise ValueError(f"expected a task from 0 to {len(self.heads) - 1}, got {task}; see the task table")

    def _choose(self, tasks: Sequence[int]) -> None:
        numbers = torch.as_tensor(tasks, dtype=torch.long)
        if numbers.shape == self._tasks.shape:
            self._tasks.copy_(numbers)  # the same tensor: torch.compile takes a new one for a new graph
        else:
            self._tasks = numbers.clone()

    def _one_of_several(self, shared: Any, task: int, x: Tensor) -> Tensor:
        logits = self.decode(shared, torch.full((len(x),), task, device=x.device))
        return logits[:, : self.heads[task]]  # type: ignore[call-overload]

    @torch.compiler.disable
    def _slice(self, logits: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        """Outside of the compiled graph, which would otherwise be compiled again for every number of heads."""
        if self._mixed:
            return logits
        task = int(self._tasks)
        if task < 0:
            raise UserError(
                "network of a collection: expected a task, got none. Predict with a task's view (-d MEMBER -p "
                "PLANS_COLLECTION) or with nnunet_ext predict_tasks."
            )
        heads = self.heads[task]
        if isinstance(logits, list):
            return [scale[:, :heads] for scale in logits]
        return logits[:, :heads]
