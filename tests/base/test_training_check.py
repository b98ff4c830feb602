"""The smallest patch is the one that every transform of stock nnU-Net takes, along any axis."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.base.training_check import SMALLEST, check_patch, check_sample
from nnunet_ext.errors import UserError


def augment(patch: tuple[int, ...], *, in_plane: bool, draws: int) -> None:
    """Draw every transform of stock training, with the widest blur that it can draw."""
    rotation = (-0.5, 0.5)
    transforms = nnUNetTrainer.get_training_transforms(patch, rotation, None, tuple(range(len(patch))), in_plane)
    for each in transforms.transforms:
        if isinstance(each, RandomTransform):
            each.apply_probability = 1
            each.transform.p_per_channel = 1
            if isinstance(each.transform, GaussianBlurTransform):
                assert each.transform.blur_sigma == (0.5, 1.0)
                each.transform.blur_sigma = (1.0, 1.0)
                each.transform.benchmark_num_runs = 1
    for _ in range(draws):
        size = [patch[0] if in_plane else patch[0] + 2, *(length + 2 for length in patch[1:])]
        out = transforms(image=torch.rand(1, *size), segmentation=torch.zeros(1, *size, dtype=torch.int16))
        assert out["image"].shape == (1, *patch)


def with_size(size: int, axis: int, axes: int) -> tuple[int, ...]:
    return tuple(size if number == axis else 8 for number in range(axes))


@pytest.mark.parametrize(
    ("axes", "axis", "in_plane"),
    [(3, 0, False), (3, 1, False), (3, 2, False), (3, 0, True), (3, 2, True), (2, 0, False), (2, 1, False)],
)
def test_the_limit_is_that_of_stock_transforms(axes, axis, in_plane):
    smallest, smaller = with_size(SMALLEST, axis, axes), with_size(SMALLEST - 1, axis, axes)
    augment(smallest, in_plane=in_plane, draws=5)
    check_patch(smallest, "Lite", "any")
    with pytest.raises(RuntimeError, match="Padding size should be less than"):
        augment(smaller, in_plane=in_plane, draws=1)
    with pytest.raises(UserError, match=r"plans 'Lite', configuration 'any': expected a patch of at least 4 voxels"):
        check_patch(smaller, "Lite", "any")


def test_the_remedy():
    with pytest.raises(UserError, match=r"got \[3, 96, 96\]: .* Train the configuration 2d, or plan with a finer"):
        check_patch([3, 96, 96], "Lite", "any")
    with pytest.raises(UserError, match=r"got \[96, 3\]: .* random step\. Plan with a finer"):
        check_patch([96, 3], "Lite", "any")


def data(channels: int, spacing: tuple[float, ...] | None, names: tuple[str, ...] = ("b", "a")) -> SimpleNamespace:
    properties = {"spacing": (1, 1, 1)} | ({"sitk_stuff": {"spacing": spacing}} if spacing else {})
    cases = {"a": (np.zeros((1, 4, 5, 6)), np.zeros((channels, 4, 5, 6)), None, properties)}
    return SimpleNamespace(identifiers=list(names), source_folder="data", load_case=cases.__getitem__)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 1), None])
def test_sound(spacing):
    check_sample(data(1, spacing))
    check_sample(data(3, (1, 1, 1, 1), names=()))


def test_four_axes():
    with pytest.raises(UserError, match=r"^data: case 'a': expected images with at most 3 axes, found 4: "):
        check_sample(data(1, (1, 1, 1, 1)))


def test_label_with_several_channels():
    with pytest.raises(UserError, match=r"^data: case 'a': expected a label with one channel, found 3\. Save"):
        check_sample(data(3, (1, 1, 1)))


def test_a_trainer_looks_before_its_loaders_start(monkeypatch):
    monkeypatch.setattr(nnUNetTrainer, "get_tr_and_val_datasets", lambda self: (data(3, None), data(1, None)))
    with pytest.raises(UserError, match="found 3"):
        ExtTrainer.get_tr_and_val_datasets(object.__new__(ExtTrainer))
