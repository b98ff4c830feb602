"""Data that were preprocessed without a check are refused before they are trained on."""

from types import SimpleNamespace

import numpy as np
import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.base.sample_check import check_sample
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.errors import UserError


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
