"""Windows, weights and sums are nnU-Net's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from small_model import phantom, stock

from nnunet_ext.errors import UserError
from nnunet_ext.onnx_runner.model_description import ModelDescription
from nnunet_ext.onnx_runner.sliding_window import SlidingWindow, gaussian, in_image, window_rows, window_starts

Export = Callable[..., tuple[Path, Path]]


@pytest.mark.parametrize("step", [0.5, 0.3, 1.0])
def test_starts_are_nnunets(step: float) -> None:
    for patch in (1, 7, 16, 64):
        for size in range(patch, patch * 4):
            assert window_starts(size, patch, step) == compute_steps_for_sliding_window((size,), (patch,), step)[0]


@pytest.mark.parametrize("patch", [(28, 56, 40), (5, 7, 6), (96, 33), (192, 16, 8), (1, 12, 12)])
def test_weights_are_nnunets(patch: tuple[int, ...]) -> None:
    expected = compute_gaussian(patch, 1 / 8, 10, device=torch.device("cpu")).numpy()
    found = gaussian(patch, 1 / 8, 10)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert found.min() > 0


@pytest.mark.parametrize("patch", [(8, 16, 12), (16, 12)])
@pytest.mark.parametrize("size", [(8, 16, 12), (19, 40, 29)])
def test_rows_are_nnunets_windows_in_order(export: Export, patch: tuple[int, ...], size: tuple[int, ...]) -> None:
    model, _ = export(patch_size=list(patch), spacing=[1.0] * len(patch))
    expected = stock(model)._internal_get_sliding_window_slicers(size)
    rows = window_rows(size, patch, 0.5)
    assert [in_image(window) for row, _ in rows for window in row] == [tuple(each) for each in expected]
    assert sum(finished for _, finished in rows) == size[0]


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((14, 30, 26), {"folds": (0, 1)}),
        ((5, 10, 26), {"axes": (0, 2)}),
        ((20, 18, 13), {"patch_size": [16, 12], "spacing": [1.0, 1.0]}),
    ],
)
def test_logits_are_nnunets(export: Export, shape: tuple[int, ...], settings: dict) -> None:
    model, exported = export(**settings)
    image = phantom(shape) / 50
    theirs = stock(model, settings.get("folds", (0,)))
    expected = theirs.predict_logits_from_preprocessed_data(torch.from_numpy(image)).numpy()
    description = ModelDescription.read(exported)
    window = SlidingWindow(description.network_files(exported), description, step_size=0.5, threads=1)
    told: list[tuple[int, int]] = []
    slabs = [slab.copy() for slab in window.slabs(image, lambda done, all_: told.append((done, all_)))]
    found = np.concatenate(slabs, 1)
    assert found.dtype == expected.dtype == np.float16
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert (found != expected).mean() < 0.02, "sums are rounded where nnU-Net rounds them"
    assert len(slabs) > 1 or shape[0] < 8
    assert told == [(number, len(told)) for number in range(1, len(told) + 1)]


def test_a_slab_is_as_deep_as_a_patch_at_most(export: Export) -> None:
    _, exported = export(axes=None)
    description = ModelDescription.read(exported)
    window = SlidingWindow(description.network_files(exported), description, step_size=0.5)
    depths = [slab.shape[1] for slab in window.slabs(phantom((40, 16, 12)))]
    assert sum(depths) == 40
    assert max(depths) <= 8


def test_sums_that_do_not_fit_fp16(export: Export) -> None:
    _, exported = export(axes=None)
    description = ModelDescription.read(exported)
    window = SlidingWindow(description.network_files(exported), description, step_size=0.5)
    window._gaussian = np.full_like(window._gaussian, 6e4)
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(UserError, match="logits: expected finite sums"),
    ):
        list(window.slabs(phantom()))


def test_threads(export: Export) -> None:
    _, exported = export()
    description = ModelDescription.read(exported)
    for threads, expected in ((3, 3), (None, 0)):  # 0: as many as there are cores
        window = SlidingWindow(description.network_files(exported), description, step_size=0.5, threads=threads)
        assert window._networks[0].get_session_options().intra_op_num_threads == expected


def test_wrong_steps_and_files(export: Export) -> None:
    _, exported = export()
    description = ModelDescription.read(exported)
    for step in (0, 1.5):
        with pytest.raises(UserError, match="step_size: expected a number above 0 and at most 1"):
            SlidingWindow([], description, step_size=step)
    with pytest.raises(UserError, match=r"model\.json: expected a network that onnxruntime .* runs, got"):
        SlidingWindow([exported / "model.json"], description, step_size=0.5)
