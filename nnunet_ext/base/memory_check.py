"""The part of a trainer that says what it needs of a GPU before it starts."""

from __future__ import annotations

from typing import Any

import torch

from nnunet_ext.base.gpu_memory import GpuMemory


class ChecksMemory:
    """Mix-in for trainers, left of ``nnUNetTrainer``: a training says its need of GPU memory, or that it cannot fit."""

    memory_remedy: str = "Plan with a smaller -gpu_memory_target, by a planner that counts this method's memory (-pl)."
    optimizer: torch.optim.Optimizer
    device: torch.device
    batch_size: int
    configuration_manager: Any
    bare_network: Any
    print_to_log_file: Any

    def check_gpu_memory(self) -> None:
        """Log what the training needs against what the GPU has free; refuse it if that is hopeless."""
        free = self.free_gpu_memory()
        if free is None or not hasattr(self.bare_network, "compute_conv_feature_map_size"):
            return
        needed = self.needed_gpu_memory(free)
        self.print_to_log_file(needed.line(free))
        needed.check(free, self.memory_remedy)

    def free_gpu_memory(self) -> int | None:
        """Return the bytes that this process can use, the ones it holds included; None on other devices."""
        if self.device.type != "cuda":
            return None
        return torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device)

    def needed_gpu_memory(self, free: int) -> GpuMemory:
        """Return the estimate for this training; ``free`` bytes may decide how its steps are done."""
        return self._gpu_memory(self.batch_size)

    def _gpu_memory(self, samples: int) -> GpuMemory:
        """Return the estimate with the activations of so many samples at once."""
        elements = self.bare_network.compute_conv_feature_map_size(self.configuration_manager.patch_size)
        weights = sum(each.numel() for each in self.bare_network.parameters() if each.requires_grad)
        return GpuMemory(int(elements), samples, weights, 2 if isinstance(self.optimizer, torch.optim.AdamW) else 1)
