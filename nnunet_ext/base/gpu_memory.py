"""Whether training fits the GPU, checked before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from nnunet_ext.errors import UserError

BYTES_OF_UNIT = 4  # nnU-Net's planner counts outputs of convolutions, kept before and after the norm in half precision
BYTES_OF_STOCK_BUDGET = 8 * 10**9 / (2 * 560_000_000)  # of a unit: its 8 GB are 560 million in each of 2 samples
BYTES_OF_WEIGHT = 4 + 4 + 2  # itself, its gradient, its copy in half precision
GIB = 2**30


@dataclass(frozen=True)
class GpuMemory:
    """The memory that a training step needs.

    Args:
        elements: Of one sample, as networks count them for the planner (``compute_conv_feature_map_size``).
        samples: Samples whose activations are held at the same time.
        weights: Number of trained parameters.
        states: Tensors that the optimizer keeps for each: 1 for SGD with momentum, 2 for AdamW.
    """

    elements: int
    samples: int
    weights: int
    states: int

    @property
    def of_weights(self) -> int:
        """Bytes of weights, gradients and the optimizer's state."""
        return self.weights * (BYTES_OF_WEIGHT + 4 * self.states)

    @property
    def at_least(self) -> int:
        """Bytes that a step needs at least: weights, and what is kept for the backward pass."""
        return self.of_weights + self.elements * self.samples * BYTES_OF_UNIT

    @property
    def planned(self) -> int:
        """Bytes that nnU-Net's planner reserves for it, workspace of convolutions included."""
        return max(self.at_least, round(self.elements * self.samples * BYTES_OF_STOCK_BUDGET))

    def line(self, free: int) -> str:
        """Return the estimate against ``free`` bytes, for the log."""
        return (
            f"GPU memory: this training needs at least {_gib(self.at_least)} ({_gib(self.of_weights)} for weights, the "
            f"rest for {self.samples} samples), nnU-Net plans with {_gib(self.planned)}; {_gib(free)} are free."
        )

    def check(self, free: int, remedy: str) -> None:
        """Refuse what cannot fit.

        Args:
            free: Bytes.
            remedy: A sentence for the user.

        Raises:
            UserError: The training needs more than is free.
        """
        if self.at_least > free:
            raise UserError(
                f"GPU memory: expected {_gib(self.at_least)} or more for batches of {self.samples} samples, got "
                f"{_gib(free)} free. {remedy}"
            )


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


class ChecksMemory:
    """Mix-in for trainers, left of ``nnUNetTrainer``: logs the GPU memory that training needs, or refuses to train."""

    memory_remedy: str = "Plan with a smaller -gpu_memory_target, by a planner that counts this method's memory (-pl)."
    optimizer: torch.optim.Optimizer
    device: torch.device
    batch_size: int
    configuration_manager: Any
    bare_network: Any
    print_to_log_file: Any

    def check_gpu_memory(self) -> None:
        """Log the GPU memory that training needs and that is free; refuse to train if it cannot fit."""
        free = self.free_gpu_memory()
        if free is None or not hasattr(self.bare_network, "compute_conv_feature_map_size"):
            return
        needed = self.needed_gpu_memory(free)
        self.print_to_log_file(needed.line(free))
        needed.check(free, self.memory_remedy)

    def free_gpu_memory(self) -> int | None:
        """Return the bytes that this process can use, including those it holds; None on other devices."""
        if self.device.type != "cuda":
            return None
        return torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device)

    def needed_gpu_memory(self, free: int) -> GpuMemory:
        """Return the estimate for this training; ``free`` bytes may decide how its steps are run."""
        return self._gpu_memory(self.batch_size)

    def _gpu_memory(self, samples: int) -> GpuMemory:
        """Return the estimate with the activations of so many samples at once."""
        elements = self.bare_network.compute_conv_feature_map_size(self.configuration_manager.patch_size)
        weights = sum(each.numel() for each in self.bare_network.parameters() if each.requires_grad)
        return GpuMemory(int(elements), samples, weights, 2 if isinstance(self.optimizer, torch.optim.AdamW) else 1)
