"""Whether a training fits the GPU, with numbers in place of a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnunet_ext.base.gpu_memory import GIB, GpuMemory
from nnunet_ext.errors import UserError
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer

# nnU-Net's default network at 128^3, batch 2: 453 million a sample, 31 million weights, SGD
STOCK = GpuMemory(elements=453_000_000, samples=2, weights=31_000_000, states=1)


def test_by_hand():
    assert STOCK.of_weights == 31_000_000 * (4 + 4 + 2 + 4)
    assert STOCK.at_least == 434_000_000 + 2 * 453_000_000 * 4
    assert STOCK.planned == pytest.approx(8e9 * 453 / 560)
    assert GpuMemory(453_000_000, 2, 31_000_000, 2).of_weights == 31_000_000 * 18
    assert GpuMemory(1, 1, 31_000_000, 1).planned == 434_000_004  # never less than it needs
    assert STOCK.line(24 * GIB) == (
        "GPU memory: this training needs at least 3.8 GiB (0.4 GiB for weights, the rest for 2 samples), nnU-Net plans "
        "with 6.0 GiB; 24.0 GiB are free."
    )


def test_what_cannot_fit_is_refused_and_nothing_else():
    STOCK.check(STOCK.at_least, "Use less.")
    with pytest.raises(UserError) as error:
        STOCK.check(STOCK.at_least - 1, "Use less.")
    assert str(error.value) == (
        "GPU memory: expected 3.8 GiB or more for batches of 2 samples, got 3.8 GiB free. Use less."
    )


class OnGPU(NNUNetBaselineTrainer):
    """As on a GPU with so much memory."""

    free = 2 * GIB

    def free_gpu_memory(self) -> int | None:
        return self.free


class OnSmallGPU(OnGPU):
    free = 1_000_000


def test_a_training_says_its_need_before_it_starts(half_labelled: Callable[..., Any]):
    trainer = half_labelled(OnGPU)
    trainer.initialize()
    trainer.check_gpu_memory()
    log = Path(trainer.log_file).read_text()
    elements = trainer.network.compute_conv_feature_map_size(trainer.configuration_manager.patch_size)
    weights = sum(each.numel() for each in trainer.network.parameters())
    assert GpuMemory(int(elements), 2, weights, 1).line(2 * GIB) in log


def test_a_hopeless_training_is_refused_before_data_are_loaded(half_labelled: Callable[..., Any]):
    trainer = half_labelled(OnSmallGPU)
    with pytest.raises(
        UserError, match=r"GPU memory: expected .* 0\.0 GiB free\. Plan with a smaller -gpu_memory_target"
    ):
        trainer.run_training()
    assert trainer.dataloader_train is None
    assert not list(Path(trainer.output_folder).glob("checkpoint*"))


def test_on_a_cpu_nothing_is_said(half_labelled: Callable[..., Any]):
    trainer = half_labelled(NNUNetBaselineTrainer)
    trainer.initialize()
    trainer.check_gpu_memory()
    assert "GPU memory" not in Path(trainer.log_file).read_text()
