"""Ignored voxels of training labels are filled, all others are kept; also without unlabelled images."""

from __future__ import annotations

import json
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

from nnunet_ext.errors import UserError
from nnunet_ext.methods.pseudo_label import filled_labels as filling
from nnunet_ext.methods.pseudo_label.filled_labels import WithFilledLabels, confidence
from nnunet_ext.methods.pseudo_label.trainer import PseudoLabelTrainer

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
    monkeypatch.setattr(
        filling,
        "confidence",
        lambda logits, *, regions: torch.linspace(0.8, 1, logits[0].numel()).reshape(logits[0].shape),
    )
    begun(trainer)
    ignore = trainer.label_manager.ignore_label
    for case in trainer.do_split()[0]:
        before = stored(trainer, case) == ignore
        after = trainer.dataloader_train.data_loader.labelled._data.load_case(case)[1][:] == ignore
        sure = np.linspace(0.8, 1, before.size).reshape(before.shape) >= 0.9
        assert np.array_equal(after, before & ~sure)
        assert after.any()
        assert (before & ~after).any()


def test_confidence():
    logits = torch.tensor([[2.0, 0.0], [0.0, -3.0], [0.0, 0.0]])[:, :, None]
    assert confidence(logits, regions=False).flatten().tolist() == pytest.approx([0.7870, 0.4879], abs=1e-4)
    assert confidence(logits, regions=True).flatten().tolist() == pytest.approx([0.5, 0.5])
    assert confidence(logits[:2], regions=True).flatten().tolist() == pytest.approx([0.5, 0.5])
    assert confidence(logits[:1], regions=True).flatten().tolist() == pytest.approx([0.8808, 0.5], abs=1e-4)


def trained(trainer: Any) -> tuple[dict[str, torch.Tensor], dict[str, list[float]]]:
    trainer.run_training()
    logged = {name: trainer.logger.get_value(name, step=None) for name in ("train_losses", "val_losses", "lrs")}
    return {name: weight.clone() for name, weight in trainer.network.state_dict().items()}, logged


@pytest.mark.parametrize("labels", ["plain", "ignore"])
def test_without_ignored_voxels_the_knob_changes_nothing(half_labelled: Make, labels):
    """Bit for bit, without an ignore label and with one that no voxel has."""
    results = []
    for name, knobs in (("without", {}), ("with", FILLS)):
        trainer = half_labelled(
            PseudoLabelTrainer, labels=labels, run=name, num_iterations_per_epoch=2, seed=3, pseudo_label=knobs
        )
        for file in Path(trainer.preprocessed_dataset_folder).glob("*_seg.b2nd"):
            seg = blosc2.open(str(file))
            array = seg[:]
            if labels == "ignore" and (array == trainer.label_manager.ignore_label).any():
                array[array == trainer.label_manager.ignore_label] = 0
                file.unlink()
                blosc2.asarray(array, urlpath=str(file), chunks=seg.chunks, blocks=seg.blocks)
        results.append(trained(trainer))
        assert not list((Path(trainer.output_folder) / "filled_labels").glob("*.b2nd"))
    assert results[0][1] == results[1][1]
    assert all(torch.equal(weight, results[1][0][name]) for name, weight in results[0][0].items())


@pytest.mark.parametrize("unlabelled", [True, False])
def test_a_run_that_was_killed_while_filling_repeats_an_uninterrupted_one(
    half_labelled: Make, without_unlabelled: Make, monkeypatch, unlabelled: bool
):
    make = half_labelled if unlabelled else without_unlabelled
    knobs = {"labels": "ignore", "num_epochs": 3, "num_iterations_per_epoch": 1, "seed": 5, "save_every": 1}
    whole = trained(make(PseudoLabelTrainer, run="whole", pseudo_label=FILLS, **knobs))
    killed = make(PseudoLabelTrainer, run="killed", pseudo_label=FILLS, **knobs)
    fill, filled = filling._fill, []

    def dies(trainer: Any, case: str, *rest: Any, **options: Any) -> None:
        if len(filled) == 2:
            raise KeyboardInterrupt
        fill(trainer, case, *rest, **options)
        filled.append(case)

    monkeypatch.setattr(filling, "_fill", dies)
    with pytest.raises(KeyboardInterrupt):
        killed.run_training()
    again: list[str] = []
    monkeypatch.setattr(
        filling,
        "_fill",
        lambda trainer, case, *rest, **options: (again.append(case), fill(trainer, case, *rest, **options)),
    )
    continued = make(PseudoLabelTrainer, run="killed", continued=True, pseudo_label=FILLS, **knobs)
    continued.load_checkpoint(str(Path(killed.output_folder) / "checkpoint_latest.pth"))
    weights, logged = trained(continued)
    assert not set(again) & set(filled)
    assert logged == whole[1]
    assert all(torch.equal(weight, weights[name]) for name, weight in whole[0].items())
    later = make(PseudoLabelTrainer, run="killed", continued=True, pseudo_label=FILLS, **knobs)
    later.initialize()
    later.load_checkpoint(str(Path(killed.output_folder) / "checkpoint_latest.pth"))
    later.current_epoch = 2
    shutil.rmtree(later.filled_labels.place)
    with pytest.raises(UserError, match=r"filled_labels: expected the pseudo-labels .*found them deleted.*--c"):
        later.get_dataloaders()


def test_neither_ignore_label_nor_unlabelled_images(without_unlabelled: Make):
    trainer = without_unlabelled(PseudoLabelTrainer, labels="plain", pseudo_label=FILLS)
    with pytest.raises(UserError, match=r"ignored_voxels expects an ignore label or unlabelled images, found neither"):
        trainer.get_dataloaders()


def test_unlabelled_images_that_are_there_must_be_preprocessed(half_labelled: Make):
    trainer = half_labelled(PseudoLabelTrainer, labels="ignore", pseudo_label=FILLS)
    data = Path(trainer.preprocessed_dataset_folder_base)
    for folder in data.glob("*_unlabelled"):
        shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"expected preprocessed unlabelled images"):
        trainer.get_dataloaders()


def test_memory_is_counted_without_unlabelled_samples(without_unlabelled: Make, half_labelled: Make):
    for make, expected in ((half_labelled, (2, 2)), (without_unlabelled, (2, 0))):
        trainer = make(PseudoLabelTrainer, labels="ignore", pseudo_label=FILLS)
        trainer.initialize()
        assert trainer.samples_of_parts() == expected


@pytest.mark.parametrize("knob", [{"ignored_voxels": 1.5}, {"threshold": 0}, {"threshold": 1}])
def test_illegal_knobs_are_refused(half_labelled: Make, knob):
    with pytest.raises(UserError, match=rf"knob 'pseudo_label\.{next(iter(knob))}' expects"):
        half_labelled(PseudoLabelTrainer, pseudo_label=json.loads(json.dumps(knob)))
