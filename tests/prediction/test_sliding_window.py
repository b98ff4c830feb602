"""Logits in slabs, bit for bit nnU-Net's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_model import phantom, stock

from nnunet_ext.errors import UserError
from nnunet_ext.prediction.sliding_window import SlidingWindow
from nnunet_ext.prediction.trained_model import TrainedModel

CPU = torch.device("cpu")


def ours(model: Path, image: torch.Tensor, folds: tuple[int | str, ...] = (0,), **options: Any) -> list[torch.Tensor]:
    window = SlidingWindow(TrainedModel.load(model, folds), CPU, **options)
    return [slab.clone() for slab in window.slabs(image)]


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((14, 30, 16), {}),
        ((29, 16, 12), {"folds": (0, 1, 2)}),  # six rows
        ((5, 9, 20), {"folds": (0, 1)}),  # padded along two axes
        ((8, 16, 12), {}),  # one window
        ((14, 20, 16), {"axes": None}),
        ((14, 16, 12), {"axes": (1,)}),
        ((35, 20, 12), {"patch_size": [16, 12], "folds": (0, 1, 2), "axes": (1,)}),  # three blocks of slices
        ((3, 9, 20), {"patch_size": [16, 12]}),
        ((9, 16, 12), {"patch_size": [4, 16, 12], "step": 1.0}),  # rows do not overlap
        ((5, 16, 12), {"patch_size": [2, 16, 12], "step": 0.25, "axes": None}),  # rows at 0, 0, 1, 2, 2, 2, 3
    ],
    ids=str,
)
def test_the_logits_of_nnunet(write_model, shape, settings):
    settings = dict(settings)
    step, folds = settings.pop("step", 0.5), settings.pop("folds", (0,))
    model = write_model(folds=folds, **settings)
    image = torch.from_numpy(phantom(shape))
    expected = stock(model, folds, tile_step_size=step).predict_logits_from_preprocessed_data(image)
    slabs = ours(model, image, folds, step_size=step)
    assert all(slab.shape[1] for slab in slabs)
    found = torch.cat(slabs, 1)
    assert found.dtype == expected.dtype == torch.half
    assert torch.equal(found, expected)


@pytest.mark.parametrize("options", [{"step_size": 0.7}, {"step_size": 0.11}, {"mirroring": False}], ids=str)
def test_options(write_model, options):
    model = write_model()
    image = torch.from_numpy(phantom((21, 20, 12)))
    theirs = {"step_size": "tile_step_size", "mirroring": "use_mirroring"}
    expected = stock(model, **{theirs[key]: value for key, value in options.items()})
    default = torch.cat(ours(model, image), 1)
    found = torch.cat(ours(model, image, **options), 1)
    assert torch.equal(found, expected.predict_logits_from_preprocessed_data(image))
    assert not torch.equal(found, default)


def test_only_the_depth_of_a_patch_is_held(write_model):
    model = write_model(folds=(0, 1))
    image = torch.from_numpy(phantom((40, 16, 12)))
    window = SlidingWindow(TrainedModel.load(model, (0, 1)), CPU)
    held = {}
    for slab in window.slabs(image):
        held[slab.untyped_storage().data_ptr()] = slab.untyped_storage().nbytes()
    assert list(held.values()) == [2 * 2 * 4 * 8 * 16 * 12]  # bytes, folds, classes, a patch's slices


def test_progress(write_model):
    model = write_model(folds=(0, 1))
    window = SlidingWindow(TrainedModel.load(model, (0, 1)), CPU)
    seen: list[tuple[int, int]] = []
    for _ in window.slabs(torch.from_numpy(phantom((14, 16, 12))), progress=lambda *now: seen.append(now)):
        pass
    assert seen == [(done, 6) for done in range(1, 7)]  # three rows of one window, two folds


def test_infinite_sums(write_model):
    model = write_model()
    loaded = TrainedModel.load(model, (0,))
    for parameter in loaded.network.decoder.seg_layers.parameters():
        parameter.data *= 1e6
    image = torch.from_numpy(phantom((14, 16, 12)))
    with pytest.raises(UserError, match="logits: expected finite sums, found some that are too large for 16 bits"):
        list(SlidingWindow(loaded, CPU).slabs(image))


def test_each_slab_is_finished_before_the_next_row(write_model):
    """Slices come as early as possible: 4 after the first row of a patch of 8 slices, the last 8 at once."""
    model = write_model()
    depths = [slab.shape[1] for slab in ours(model, torch.from_numpy(phantom((16, 16, 12))))]
    assert depths == [4, 4, 8]
    np.testing.assert_equal(sum(depths), 16)


def test_the_network_is_in_eval_mode(write_model):
    loaded = TrainedModel.load(write_model())
    loaded.network.train()
    SlidingWindow(loaded, CPU)
    assert not loaded.network.training


def test_no_memory_for_the_model(write_model, monkeypatch):
    loaded = TrainedModel.load(write_model())
    error: RuntimeError = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.\nGPU 0 has ...")

    def to(*_: Any) -> None:
        raise error

    monkeypatch.setattr(type(loaded.network), "to", to)
    with pytest.raises(UserError) as caught:
        SlidingWindow(loaded, torch.device("cuda"))
    assert str(caught.value) == (
        "device cuda: expected memory for the model, got 'CUDA out of memory. Tried to allocate 2.00 MiB.'. End what "
        "else runs on this GPU, choose another (CUDA_VISIBLE_DEVICES), or predict on the CPU."
    )
    error = RuntimeError("CUDA error: no kernel image is available")
    with pytest.raises(RuntimeError) as other:
        SlidingWindow(loaded, torch.device("cuda"))
    assert other.value is error
