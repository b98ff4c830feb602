"""Guided sampling: the network predicts the unlabelled cases now and then, and patches follow what it finds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from killed_training import train_until_killed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from process_group import process_group

from nnunet_ext.errors import UserError
from nnunet_ext.methods.lefed.trainer import LeFeDTrainer
from nnunet_ext.methods.mean_teacher.trainer import MeanTeacherTrainer
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.semi_supervised import predict as predicting
from nnunet_ext.semi_supervised.pseudo_labels import PseudoLabelled

Make = Callable[..., Any]
EVERY_OTHER = {"guided_every": 2}


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Epoch and name of each case that is predicted."""
    done: list[tuple[int, str]] = []
    predict = predicting._predict

    def notes(trainer: Any, case: str, *rest: Any) -> None:
        done.append((trainer.current_epoch, case))
        predict(trainer, case, *rest)

    monkeypatch.setattr(predicting, "_predict", notes)
    return done


def losses(trainer: Any) -> dict[str, list[float]]:
    names = ("train_losses", "val_losses", *trainer.loss_parts)
    return {name: trainer.logger.get_value(name, step=None) for name in names}


@pytest.mark.parametrize(
    ("kind", "configuration", "labels"),
    [(MeanTeacherTrainer, "3d_fullres", "plain"), (LeFeDTrainer, "2d", "regions ignore")],
)
def test_a_training(half_labelled: Make, monkeypatch, predicted, kind, configuration, labels):
    trainer = half_labelled(
        kind, configuration, labels=labels, num_epochs=5, num_iterations_per_epoch=1, unlabelled=EVERY_OTHER
    )
    seen = []
    step = kind.train_step

    def notes(self: Any, batch: dict[str, Any]) -> dict:
        loader = self.dataloader_train.data_loader.unlabelled
        seen.append((isinstance(loader._data, PseudoLabelled), loader.oversample_foreground_percent, sorted(batch)))
        return step(self, batch)

    monkeypatch.setattr(kind, "train_step", notes)
    trainer.run_training()
    assert [epoch for epoch, _ in predicted] == [2] * 3 + [4] * 3
    assert len(set(predicted)) == 6
    names = ["data", "keys", "step", "target", "unlabelled"]
    assert seen == [(False, 0.0, names)] * 2 + [(True, 0.33, names)] * 3
    assert len(list(trainer.pseudo_labels.place.glob("*.b2nd"))) == 3


def test_without_the_knob_nothing_is_predicted(half_labelled: Make, predicted):
    trainer = half_labelled(MeanTeacherTrainer, num_epochs=3, num_iterations_per_epoch=1)
    trainer.run_training()
    assert predicted == []
    assert not trainer.pseudo_labels.place.exists()


def test_patches_lie_where_foreground_was_found(half_labelled: Make):
    """In 2d a patch is a slice: the one in which the network found something."""
    trainer = half_labelled(MeanTeacherTrainer, "2d", unlabelled=EVERY_OTHER)
    trainer.initialize()
    trainer.current_epoch = 2
    trainer._renew_pseudo_labels()
    loader = trainer.dataloader_train.data_loader.unlabelled
    loader.oversample_foreground_percent = 1.0
    loader.transforms = None
    data, cases, where = loader._data, {}, 3
    for case in data.identifiers:
        image, labels, _, properties = data.load_case(case)
        stamped = np.zeros(image.shape, np.float32)
        stamped[:, where] = 1
        locations = {key: [] for key in properties["class_locations"]} | {1: np.array([[0, where, 5, 5]])}
        cases[case] = (stamped, labels[:], None, properties | {"class_locations": locations})
    data.load_case = cases.__getitem__
    batches = [next(loader)["data"] for _ in range(4)]
    assert all((patch != 0).any() for batch in batches for patch in batch)
    loader.oversample_foreground_percent = 0.0
    batches = [next(loader)["data"] for _ in range(4)]
    assert not all((patch != 0).any() for batch in batches for patch in batch)


@pytest.mark.parametrize("lost", [False, True])
def test_a_run_that_was_killed(half_labelled: Make, predicted, lost: bool):
    """It repeats an uninterrupted one; if the predictions are lost, the network makes new ones."""
    knobs = {"num_epochs": 4, "num_iterations_per_epoch": 2, "seed": 5, "unlabelled": EVERY_OTHER}
    whole = half_labelled(MeanTeacherTrainer, run="whole", **knobs)
    whole.run_training()
    killed = half_labelled(MeanTeacherTrainer, run="killed", **knobs)
    train_until_killed(killed, 3, at="on_train_epoch_start")
    torch.rand(17)  # another process has other random numbers
    if lost:
        shutil.rmtree(killed.pseudo_labels.place)
    predicted.clear()
    continued = half_labelled(MeanTeacherTrainer, run="killed", continued=True, **knobs)
    continued.load_checkpoint(str(Path(killed.output_folder) / "checkpoint_latest.pth"))
    assert continued.current_epoch == 3
    continued.run_training()
    assert [epoch for epoch, _ in predicted] == [3] * (3 * lost)
    assert len(losses(continued)["train_losses"]) == 4
    if not lost:
        assert losses(continued) == losses(whole)


def test_an_illegal_knob(half_labelled: Make):
    with pytest.raises(UserError, match=r"knob 'unlabelled\.guided_every' expects an integer >= 1, or null"):
        half_labelled(MeanTeacherTrainer, unlabelled={"guided_every": 0})


class OneCase:
    """Stands for the preprocessed cases and for the folder of pseudo-labels."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.image = np.zeros((1, *shape), np.float32)
        self.body = np.zeros((1, *shape), np.int8)
        self.body[:, :4] = -1  # outside the body
        self.written = np.empty(0)

    def load_case(self, _: str) -> tuple[np.ndarray, np.ndarray, None, dict[str, Any]]:
        return self.image, self.body, None, {}

    def write(self, _: str, labels: np.ndarray, *__: Any, like: Any) -> None:
        self.written = labels[0]


class Along(torch.nn.Module):
    """Logits of background (0) and of three labels, of which the first changes along the last axis of a patch."""

    def __init__(self, first: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.decoder = first, torch.nn.Module()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        along = self.first(torch.linspace(0, 1, x.shape[-1])).expand_as(x)
        return torch.cat((torch.zeros_like(x), along, *[torch.full_like(x, -9.0)] * 2), 1)


def predict_one(
    half_labelled: Make, first: Callable[[torch.Tensor], torch.Tensor], mirroring: bool = True, unsure: Any = None
) -> tuple[OneCase, Any]:
    trainer = half_labelled(MeanTeacherTrainer)
    trainer.initialize()
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert trainer.inference_allowed_mirroring_axes == (0, 1, 2)
    trainer.network = Along(first)
    case = OneCase(tuple(trainer.configuration_manager.patch_size))
    predicting._predict(trainer, "case", case, predicting._predictor(trainer, mirroring), case, unsure)
    return case, trainer


def test_background_outside_the_body_is_minus_one_and_foreground_stays(half_labelled: Make):
    """As nnU-Net's preprocessing writes labels, which loss and augmentation treat in their own way."""
    case, _ = predict_one(half_labelled, lambda along: torch.where((along - 0.5).abs() < 0.2, 1.0, -1.0))
    foreground = (np.abs(np.linspace(0, 1, case.written.shape[-1]) - 0.5) < 0.2) & np.ones(case.written.shape, bool)
    expected = np.where(foreground, 1, np.where(case.body[0] < 0, -1, 0))
    assert set(np.unique(expected)) == {-1, 0, 1}
    np.testing.assert_array_equal(case.written, expected)


def test_predictions_are_means_over_mirrored_images(half_labelled: Make):
    """From -1 to 3 along an axis, unmirrored a quarter is background; the mean with the mirror image is 1."""
    case, _ = predict_one(half_labelled, lambda along: 4 * along - 1)
    assert (case.written == 1).all()


def test_without_mirroring_they_are_those_of_the_image(half_labelled: Make):
    case, _ = predict_one(half_labelled, lambda along: 4 * along - 1, mirroring=False)
    background = (np.linspace(0, 1, case.written.shape[-1]) < 0.25) & (case.body[0] == 0)
    assert ((case.written == 0) == background).all()


def test_unsure_voxels_have_their_label_but_outside_the_body(half_labelled: Make):
    """Label 1 has a probability of 0.953, the background one of 0.731."""

    def first(along: torch.Tensor) -> torch.Tensor:
        return torch.where((along - 0.5).abs() < 0.2, 3.0, -1.0)

    case, _ = predict_one(half_labelled, first, unsure=predicting.Unsure(0.74, 9))
    foreground = (np.abs(np.linspace(0, 1, case.written.shape[-1]) - 0.5) < 0.2) & np.ones(case.written.shape, bool)
    np.testing.assert_array_equal(case.written, np.where(foreground, 1, np.where(case.body[0] < 0, -1, 9)))
    case, _ = predict_one(half_labelled, first, unsure=predicting.Unsure(0.73, 9))
    np.testing.assert_array_equal(case.written, np.where(foreground, 1, np.where(case.body[0] < 0, -1, 0)))


def test_of_regions_the_least_certain_decides():
    logits = torch.tensor([[2.0, 2.0, -2.0, 0.5], [-2.0, 0.5, -2.0, 2.0]])  # 2: 0.881, 0.5: 0.622
    found = predicting.Unsure(0.8, 9).voxels(logits, regions=True)
    assert found.tolist() == [False, True, False, True]


@pytest.mark.parametrize(("cases", "of_ranks"), [(90, [[20, 40], [20, 40]]), (41, [[], []]), (5, [[], []])])
def test_ranks_meet_every_twenty_cases_and_equally_often(monkeypatch, cases, of_ranks):
    """As in nnU-Net's validation: else a rank with large images lets the others run into the group's time-out."""
    names = [f"case_{number}" for number in range(cases)]
    monkeypatch.setattr(predicting, "check_unlabelled", lambda *_: names)
    monkeypatch.setattr(predicting, "unlabelled_folder", lambda *_: Path())
    monkeypatch.setattr(predicting, "DataMarker", MagicMock())
    for name in ("_digest", "_predictor", "nnUNetDatasetBlosc2"):
        monkeypatch.setattr(predicting, name, lambda *_: None)
    trainer, into = MagicMock(preprocessed_dataset_folder_base="folder"), MagicMock()
    into.has.return_value = False
    done: list[str] = []
    monkeypatch.setattr(predicting, "_predict", lambda _, case, *__: done.append(case))
    found, waits = [], []
    for rank in range(2):
        done.clear()
        met: list[int] = []
        monkeypatch.setattr(Ranks, "wait", lambda _, met=met: met.append(len(done)))
        with process_group(rank, 2):
            predicting.predict_unlabelled(trainer, into)
        assert done == names[rank::2]
        waits.append(len(met))
        found.append([number for number in met if 0 < number < len(done)])
    assert found == of_ranks
    assert waits[0] == waits[1]


def test_pseudo_labels_of_as_many_other_cases_are_not_in_use(half_labelled: Make):
    trainer = half_labelled(MeanTeacherTrainer, unlabelled=EVERY_OTHER)
    trainer.initialize()
    folder = trainer.pseudo_labels
    folder.begin("these")
    for case in ("a", "b"):
        (folder.place / f"{case}.pkl").write_bytes(b"")
    folder.finish("these")
    trainer._predicted_by = "these"
    assert trainer._pseudo_label_problem(["a", "b"]) is None
    assert "found those of other unlabelled cases" in trainer._pseudo_label_problem(["a", "c"])


def test_unsure_voxels():
    """Probabilities 0.7870 and 0.4879 of the labels; of regions, the least certain one counts, present or not."""
    logits = torch.tensor([[2.0, 0.0], [0.0, -3.0], [0.0, 0.0]])[:, :, None]
    assert predicting.Unsure(0.78, 3).voxels(logits, regions=False).flatten().tolist() == [False, True]
    assert predicting.Unsure(0.48, 3).voxels(logits, regions=False).flatten().tolist() == [False, False]
    assert predicting.Unsure(0.51, 3).voxels(logits, regions=True).flatten().tolist() == [True, True]
    assert predicting.Unsure(0.88, 3).voxels(logits[:1], regions=True).flatten().tolist() == [False, True]
