"""Ignored voxels of training labels are filled, all others are kept; also without unlabelled images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest
import torch
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.methods.pseudo_label import filled_labels as filling
from nnunet_ext.methods.pseudo_label.filled_labels import WithFilledLabels
from nnunet_ext.methods.pseudo_label.trainer import PseudoLabelTrainer
from nnunet_ext.semi_supervised.predict import Unsure

Make = Callable[..., Any]
FILLS = {"ignored_voxels": True}


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)


@pytest.fixture
def without_unlabelled(half_labelled: Make) -> Make:
    """Return a function like ``half_labelled`` that also removes the unlabelled images."""

    def make(*args: Any, **options: Any) -> Any:
        trainer = half_labelled(*args, **options)
        data = Path(trainer.preprocessed_dataset_folder_base)
        for folder in (*data.glob("*_unlabelled"), data.parents[1] / "raw" / data.name / "imagesUn"):
            shutil.rmtree(folder, ignore_errors=True)
        for marker in data.glob("*_unlabelled.complete.json"):
            marker.unlink()
        return trainer

    return make


def begun(trainer: PseudoLabelTrainer) -> PseudoLabelTrainer:
    """Let a trainer make its pseudo-labels, by a network that finds something."""
    trainer.on_train_start()
    with torch.no_grad():
        bias = trainer.network.decoder.seg_layers[-1].bias
        bias.copy_(torch.linspace(0, 0.5, bias.numel()))
    trainer.current_epoch = trainer.supervised_epochs
    trainer._renew_pseudo_labels()
    return trainer


def stored(trainer: Any, case: str) -> np.ndarray:
    return blosc2.open(str(Path(trainer.preprocessed_dataset_folder) / f"{case}_seg.b2nd"))[:]


@pytest.mark.parametrize(
    ("labels", "configuration"), [("ignore", "3d_fullres"), ("regions ignore", "3d_fullres"), ("ignore", "2d")]
)
def test_ignored_voxels_are_filled_and_annotated_ones_kept(
    without_unlabelled: Make, labels, configuration, monkeypatch
):
    asked: dict[str, torch.Tensor] = {}
    fill = filling._fill

    def notes(trainer: Any, case: str, dataset: Any, predictor: Any, into: Any, **options: Any) -> None:
        with torch.no_grad():
            image = torch.from_numpy(dataset.load_case(case)[0][:])
            asked[case] = predictor.predict_sliding_window_return_logits(image).float()
        fill(trainer, case, dataset, predictor, into, **options)

    monkeypatch.setattr(filling, "_fill", notes)
    trainer = begun(without_unlabelled(PseudoLabelTrainer, configuration, labels=labels, pseudo_label=FILLS))
    train, val = trainer.do_split()
    assert sorted(asked) == sorted(train)
    assert not any(trainer.filled_labels.has(case) for case in val)
    loader = trainer.dataloader_train.data_loader
    assert isinstance(loader.labelled._data, WithFilledLabels)
    assert loader.unlabelled is None
    assert not isinstance(trainer.dataloader_val.data_loader.labelled._data, WithFilledLabels)
    ignore = trainer.label_manager.ignore_label
    for case, logits in asked.items():
        before = stored(trainer, case)
        _, after, _, properties = loader.labelled._data.load_case(case)
        after = after[:]
        ignored = before == ignore
        assert ignored.any()
        assert np.array_equal(after[~ignored], before[~ignored])
        expected = trainer.label_manager.convert_logits_to_segmentation(logits).numpy()[None]
        assert np.array_equal(after[ignored], expected[ignored])
        assert expected[ignored].any()
        places = properties["class_locations"]
        original = load_pickle(str(Path(trainer.preprocessed_dataset_folder) / f"{case}.pkl"))["class_locations"]
        assert set(places) == set(original)
        for key, voxels in places.items():
            assert all(after[tuple(voxel)] in (key if isinstance(key, tuple) else (key,)) for voxel in voxels[:50])
        annotated = next(key for key in places if isinstance(key, tuple) and key[0] == -1)
        assert any(ignored[tuple(voxel)] for voxel in places[annotated])  # patches are drawn there, too


def test_voxels_stay_ignored_below_the_threshold(without_unlabelled: Make, monkeypatch):
    trainer = without_unlabelled(PseudoLabelTrainer, labels="ignore", pseudo_label=FILLS | {"threshold": 0.9})

    def rising(self, logits, *, regions):
        return (torch.linspace(0.8, 1, logits[0].numel()).reshape(logits[0].shape) < self.below).numpy()

    monkeypatch.setattr(Unsure, "voxels", rising)
    begun(trainer)
    ignore = trainer.label_manager.ignore_label
    for case in trainer.do_split()[0]:
        before = stored(trainer, case) == ignore
        after = trainer.dataloader_train.data_loader.labelled._data.load_case(case)[1][:] == ignore
        sure = np.linspace(0.8, 1, before.size).reshape(before.shape) >= 0.9
        assert np.array_equal(after, before & ~sure)
        assert after.any()
        assert (before & ~after).any()
