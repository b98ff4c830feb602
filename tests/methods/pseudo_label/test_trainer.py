"""Pseudo-labels on a small dataset: two trainings in one, what they see, and runs that were killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any

import blosc2
import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from process_group import process_group

from nnunet_ext.errors import UserError
from nnunet_ext.methods.pseudo_label.trainer import PseudoLabelTrainer
from nnunet_ext.semi_supervised import predict as predicting

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)


class KilledError(Exception):
    """Stands for a kill."""


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], tensor) for name, tensor in other.items())


def logged(trainer: Any) -> dict[str, list[float]]:
    names = ("train_losses", "val_losses", "lrs", "ema_fg_dice", *trainer.loss_parts)
    return {name: trainer.logger.get_value(name, step=None) for name in names}


@pytest.mark.parametrize(
    ("epochs", "share", "expected"), [(1000, 0.5, 500), (10, 0.25, 2), (3, 0.9, 2), (9, 0.01, 1), (1, 0.5, 1)]
)
def test_epochs_of_the_first_part(half_labelled: Make, epochs: int, share: float, expected: int):
    trainer = half_labelled(PseudoLabelTrainer, num_epochs=epochs, pseudo_label={"supervised_share": share})
    assert trainer.supervised_epochs == expected


@pytest.mark.parametrize(
    ("labels", "configuration", "anew"), [("plain", "3d_fullres", True), ("regions ignore", "2d", False)]
)
def test_both_parts(half_labelled: Make, labels: str, configuration: str, anew: bool, monkeypatch):
    """The first is stock nnU-Net; the second sees predictions of the first and begins with the same weights, or not."""
    knobs = {"num_epochs": 4, "num_iterations_per_epoch": 1, "optimizer": "AdamW", "pseudo_label": {"anew": anew}}
    trainer = half_labelled(PseudoLabelTrainer, configuration, labels=labels, **knobs)
    seen: dict[int, dict[str, Any]] = {}
    step = nnUNetTrainer.train_step

    def notes(self: Any, batch: dict[str, Any]) -> dict:
        seen[self.current_epoch] = {"before": weights(self), "optimizer": self.optimizer, "batch": batch}
        return step(self, batch)

    monkeypatch.setattr(nnUNetTrainer, "train_step", notes)
    ended: dict[int, dict[str, torch.Tensor]] = {}
    on_epoch_end = trainer.on_epoch_end
    monkeypatch.setattr(
        trainer, "on_epoch_end", lambda: (ended.update({trainer.current_epoch: weights(trainer)}), on_epoch_end())
    )
    trainer.run_training()
    assert ["pseudo_target" in seen[epoch]["batch"] for epoch in range(4)] == [False, False, True, True]
    assert [len(seen[epoch]["batch"]["data"]) for epoch in range(4)] == [2, 2, 4, 4]
    assert equal(seen[2]["before"], seen[0]["before"] if anew else ended[1])
    assert not equal(seen[1]["before"], seen[0]["before"])
    assert seen[0]["optimizer"] is seen[1]["optimizer"] is not seen[2]["optimizer"]
    assert trainer.logger.get_value("lrs", step=None) == pytest.approx([0.01, 0.01 * 0.5358867] * 2)
    parts = trainer.logger.get_value("pseudo_label_loss", step=None)
    assert [value != 0 for value in parts] == [False, False, True, True]
    total, supervised = (trainer.logger.get_value(name, step=-1) for name in ("train_losses", "supervised_loss"))
    assert total == pytest.approx((supervised + parts[-1]) / 2, abs=1e-5)
    target, pseudo = seen[3]["batch"]["target"].target, seen[3]["batch"]["pseudo_target"]
    assert [scale.shape for scale in target] == [scale.shape for scale in pseudo]
    averages = [trainer.logger.get_value(name, step=None) for name in ("ema_fg_dice", "mean_fg_dice")]
    assert averages[0][2] == averages[1][2]
    best = torch.load(Path(trainer.output_folder) / "checkpoint_best.pth", weights_only=False)
    assert best["current_epoch"] in (3, 4)
    final = torch.load(Path(trainer.output_folder) / "checkpoint_final.pth", weights_only=False)
    plain = half_labelled(nnUNetTrainer, configuration, labels=labels)
    plain.initialize()
    plain.network.load_state_dict(final["network_weights"])
    assert "first_weights" not in final["nnunet_ext"]


def begun(half_labelled: Make, labels: str = "plain", **knobs: Any) -> PseudoLabelTrainer:
    """Return a trainer that has just made its pseudo-labels, by a network that finds something."""
    trainer = half_labelled(PseudoLabelTrainer, labels=labels, num_epochs=2, **knobs)
    trainer.on_train_start()
    with torch.no_grad():
        trainer.network.decoder.seg_layers[-1].bias.copy_(
            torch.linspace(0, 0.5, trainer.network.decoder.seg_layers[-1].bias.numel())
        )
    trainer.current_epoch = 1
    for name in ("train_losses", "val_losses", "lrs", "epoch_start_timestamps", "epoch_end_timestamps", "ema_fg_dice"):
        trainer.logger.log(name, 0.0, 0)
    trainer.on_epoch_start()
    return trainer


def test_the_prediction_counts_as_time_of_the_epoch_that_follows(half_labelled: Make, monkeypatch, capsys):
    renew, times = PseudoLabelTrainer._renew_pseudo_labels, []
    monkeypatch.setattr(PseudoLabelTrainer, "_renew_pseudo_labels", lambda self: (times.append(time()), renew(self)))
    before = time()
    trainer = begun(half_labelled)
    starts = trainer.logger.get_value("epoch_start_timestamps", step=None)
    assert len(starts) == 2
    assert before < starts[1] <= times[0]
    assert "logging issue" not in capsys.readouterr().out


@pytest.mark.parametrize("labels", ["plain", "regions"])
def test_pseudo_labels_are_what_the_network_predicts(half_labelled: Make, labels: str, monkeypatch):
    asked = {}
    predict = predicting._predict

    def notes(trainer: Any, case: str, dataset: Any, predictor: Any, *rest: Any) -> None:
        with torch.no_grad():
            logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(dataset.load_case(case)[0][:]))
        asked[case] = logits.float(), dataset.load_case(case)[1][:]
        predict(trainer, case, dataset, predictor, *rest)

    monkeypatch.setattr(predicting, "_predict", notes)
    trainer = begun(half_labelled, labels)
    assert len(asked) == 3
    for case, (logits, body) in asked.items():
        found = blosc2.open(str(trainer.pseudo_labels.place / f"{case}.b2nd"))[:]
        if labels == "regions":
            expected = np.zeros(logits.shape[1:], np.int16)
            for channel, label in zip(logits, trainer.label_manager.regions_class_order, strict=True):
                expected[(channel > 0).numpy()] = label
        else:
            expected = logits.argmax(0).numpy().astype(np.int16)
        assert expected.any()
        expected = np.where((expected == 0) & (body[0] < 0), -1, expected)
        assert np.array_equal(found[0], expected)
        for key, voxels in trainer.pseudo_labels.class_locations(case).items():
            assert all(found[tuple(voxel)] in (key if isinstance(key, tuple) else (key,)) for voxel in voxels[:20])


def test_a_patch_and_its_pseudo_label_are_cropped_and_augmented_alike(half_labelled: Make):
    """Images take the place of labels: after rotation, scaling and mirroring both are the same."""
    trainer = begun(half_labelled)
    loader = trainer.dataloader_train.data_loader
    drawn = loader.unlabelled
    data, prepared = drawn._data, {}
    for case in data.identifiers:
        image, labels, _, properties = data.load_case(case)
        stamp = np.zeros(image.shape, np.float32)
        stamp[:, ::2, 2:9, 3:17] = 1  # asymmetric
        prepared[case] = (stamp, stamp.astype(np.int16), None, properties)
        assert labels.shape == image.shape
    data.load_case = prepared.__getitem__
    spatial = [
        transform
        for transform in drawn.transforms.transforms
        if type(transform).__name__ in ("SpatialTransform", "MirrorTransform", "DownsampleSegForDSTransform")
    ]
    assert len(spatial) == 3
    drawn.transforms.transforms = spatial
    for _ in range(6):
        batch = next(loader)
        images, labels = batch["unlabelled"], batch["pseudo_target"][0]
        agree = ((images > 0.5) == (labels > 0)).float().mean()
        assert agree > 0.97
        assert (images > 0.5).any()


def test_pseudo_labelled_patches_are_oversampled_in_the_foreground(half_labelled: Make):
    trainer = begun(half_labelled)
    loader = trainer.dataloader_train.data_loader
    assert loader.unlabelled.oversample_foreground_percent == loader.labelled.oversample_foreground_percent == 0.33
    assert loader.unlabelled.transforms is loader.labelled.transforms
    locations = loader.unlabelled._data.load_case(loader.unlabelled._data.identifiers[0])[3]["class_locations"]
    assert any(len(voxels) for voxels in locations.values())


@pytest.mark.parametrize(
    ("where", "anew"), [("first part", True), ("prediction", True), ("prediction", False), ("second part", True)]
)
def test_a_run_that_was_killed_and_continued_repeats_an_uninterrupted_one(
    half_labelled: Make, monkeypatch, where: str, anew: bool
):
    knobs = {"num_epochs": 4, "num_iterations_per_epoch": 1, "seed": 5, "save_every": 3 if where == "prediction" else 1}
    knobs["pseudo_label"] = {"anew": anew}
    whole = half_labelled(PseudoLabelTrainer, run="whole", **knobs)
    whole.run_training()

    killed = half_labelled(PseudoLabelTrainer, run="killed", **knobs)
    predicted: list[str] = []
    predict, on_train_epoch_start = predicting._predict, killed.on_train_epoch_start

    def dies_predicting(trainer: Any, case: str, *rest: Any) -> None:
        if where == "prediction" and len(predicted) == 2:
            raise KilledError
        predict(trainer, case, *rest)
        predicted.append(case)

    def dies() -> None:
        if killed.current_epoch == {"first part": 1, "prediction": 9, "second part": 3}[where]:
            raise KilledError
        on_train_epoch_start()

    monkeypatch.setattr(predicting, "_predict", dies_predicting)
    monkeypatch.setattr(killed, "on_train_epoch_start", dies)
    with pytest.raises(KilledError):
        killed.run_training()
    assert len(predicted) == {"first part": 0, "prediction": 2, "second part": 3}[where]
    torch.rand(17)  # another process has other random numbers
    monkeypatch.setattr(
        predicting, "_predict", lambda trainer, case, *rest: (predicted.append(case), predict(trainer, case, *rest))
    )
    continued = half_labelled(PseudoLabelTrainer, run="killed", continued=True, **knobs)
    continued.load_checkpoint(str(Path(killed.output_folder) / "checkpoint_latest.pth"))
    assert continued.current_epoch == {"first part": 1, "prediction": 2, "second part": 3}[where]
    continued.run_training()
    assert sorted(predicted) == sorted(set(predicted))
    assert len(predicted) == 3
    assert logged(continued) == logged(whole)
    assert equal(weights(continued), weights(whole))


def test_pseudo_labels_that_were_changed_are_refused(half_labelled: Make):
    trainer = begun(half_labelled)
    (trainer.pseudo_labels.place / "extra.pkl").touch()
    with pytest.raises(UserError, match=r"expected the pseudo-labels that this training began with, found 1 file.*--c"):
        trainer.get_dataloaders()
    shutil.rmtree(trainer.pseudo_labels.place)
    with pytest.raises(UserError, match="found them deleted"):
        trainer.get_dataloaders()


@pytest.mark.parametrize(
    ("samples", "batch_dice", "refused"), [(3, True, True), (3, False, False), (4, True, False), (None, True, False)]
)
def test_ranks_cannot_share_an_uneven_batch_under_batch_dice(half_labelled: Make, samples, batch_dice, refused):
    trainer = half_labelled(PseudoLabelTrainer, unlabelled={"batch_size": samples})
    trainer.configuration_manager.configuration |= {"batch_size": 2, "batch_dice": batch_dice}
    with process_group(0, 2):
        trainer.is_ddp = True
        if not refused:
            trainer._check_batch()
            return
        with pytest.raises(
            UserError,
            match=r"-num_gpus 2: expected a multiple of 2 pseudo-labelled samples in a batch, got 3; .*batch_size to 2",
        ):
            trainer.initialize()


def test_one_epoch_has_no_second_part(half_labelled: Make, capsys):
    trainer = half_labelled(PseudoLabelTrainer, num_epochs=1, num_iterations_per_epoch=1)
    trainer.run_training()
    assert "WARNING: one epoch trains on labelled images only" in capsys.readouterr().out
    assert not trainer.pseudo_labels.place.exists()


@pytest.mark.parametrize(
    "knob", [{"supervised_share": 0}, {"supervised_share": 1}, {"pseudo_label_weight": -1}, {"anew": 1.5}]
)
def test_illegal_knobs_are_refused(half_labelled: Make, knob):
    with pytest.raises(UserError, match=rf"knob 'pseudo_label\.{next(iter(knob))}' expects"):
        half_labelled(PseudoLabelTrainer, pseudo_label=knob)
