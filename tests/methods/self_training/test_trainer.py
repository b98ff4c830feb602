"""Self-training on a small dataset: its parts, what they see, and runs that were killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.errors import UserError
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.methods.pseudo_label.trainer import PseudoLabelTrainer
from nnunet_ext.methods.self_training.mixing import exchange, mixing_box
from nnunet_ext.methods.self_training.selection import read_kept
from nnunet_ext.methods.self_training.trainer import SelfTrainingTrainer
from nnunet_ext.semi_supervised import predict as predicting
from nnunet_ext.semi_supervised.pseudo_labels import PseudoLabelled

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)


class KilledError(Exception):
    """Stands for a kill."""


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}


def assert_equal(one: Any, other: Any) -> None:
    """Weights and logs of two trainings are the same, bit for bit."""
    theirs = weights(other)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in weights(one).items())
    for name in ("train_losses", "val_losses", "lrs", "ema_fg_dice"):
        assert one.logger.get_value(name, step=None) == other.logger.get_value(name, step=None)


def test_one_round_without_selection_and_mixing_is_pseudo_label_trainer(half_labelled: Make):
    knobs = {"num_epochs": 4, "num_iterations_per_epoch": 2, "seed": 3}
    own = {"rounds": 1, "selection": [], "mixing_share": 0, "supervised_share": 0.5}
    mine = half_labelled(SelfTrainingTrainer, run="mine", self_training=own, **knobs)
    mine.run_training()
    theirs = half_labelled(PseudoLabelTrainer, run="theirs", pseudo_label={"anew": False}, **knobs)
    theirs.run_training()
    assert_equal(mine, theirs)


def test_no_round_is_stock(half_labelled: Make):
    knobs = {"num_epochs": 2, "num_iterations_per_epoch": 2, "seed": 3}
    mine = half_labelled(SelfTrainingTrainer, run="mine", self_training={"rounds": 0}, **knobs)
    mine.run_training()
    stock = half_labelled(NNUNetBaselineTrainer, run="stock", **knobs)
    stock.run_training()
    assert_equal(mine, stock)
    assert not list(Path(mine.output_folder).glob("pseudo_labels*"))


ALL = {"selection": [0.6, 1], "mixing_share": 1, "fine_tune_share": 0.2}  # of 3 unlabelled cases 2 are kept, then 3
SIX = {"num_epochs": 6, "num_iterations_per_epoch": 1, "seed": 3}  # 3 supervised, 2 rounds of 1, 1 last


@pytest.mark.parametrize(("labels", "configuration"), [("plain", "3d_fullres"), ("regions ignore", "2d")])
def test_all_parts(half_labelled: Make, labels: str, configuration: str, monkeypatch):
    """What each part begins with, sees and leaves."""
    trainer = half_labelled(SelfTrainingTrainer, configuration, labels=labels, self_training=ALL, **SIX)
    seen: dict[int, dict[str, Any]] = {}
    step = nnUNetTrainer.train_step

    def notes(self: Any, batch: dict[str, Any]) -> dict:
        loader = self.dataloader_train.data_loader.unlabelled
        seen[self.current_epoch] = {
            "before": weights(self),
            "optimizer": self.optimizer,
            "batch": batch,
            "cases": None if loader is None else tuple(loader.indices),
        }
        return step(self, batch)

    monkeypatch.setattr(nnUNetTrainer, "train_step", notes)
    trainer.run_training()
    out = Path(trainer.output_folder)
    assert trainer.part_lengths == (3, 1, 1, 1)
    assert [len(seen[epoch]["batch"]["data"]) for epoch in range(6)] == [2, 2, 2, 4, 4, 2]
    assert ["pseudo_target" in seen[epoch]["batch"] for epoch in range(6)] == [False] * 3 + [True] * 2 + [False]
    optimizers = [seen[epoch]["optimizer"] for epoch in range(6)]
    assert optimizers[0] is optimizers[1] is optimizers[2]
    assert len({id(optimizer) for optimizer in optimizers}) == 4
    rates = [0.01, 0.01 * 0.6942532, 0.01 * 0.3720411, 0.01, 0.01, 0.001]  # (1 - epoch / 3) ** 0.9
    assert trainer.logger.get_value("lrs", step=None) == pytest.approx(rates)
    kept = [read_kept(out / f"selection_{number}.csv") for number in (1, 2)]
    assert [len(cases) for cases in kept] == [2, 3]
    assert [seen[epoch]["cases"] for epoch in range(6)] == [None] * 3 + kept + [None]
    assert sorted(path.name for path in out.glob("pseudo_labels_*") if path.is_dir()) == [
        "pseudo_labels_0",
        "pseudo_labels_1",
        "pseudo_labels_2",
    ]
    log = Path(trainer.log_file).read_text()
    assert "Round 1: 2 of 3 unlabelled cases kept" in log
    assert "Round 2: 3 of 3 unlabelled cases kept" in log
    averages = [trainer.logger.get_value(name, step=None) for name in ("ema_fg_dice", "mean_fg_dice")]
    assert [averages[0][epoch] == averages[1][epoch] for epoch in (3, 4, 5)] == [True] * 3
    final = torch.load(out / "checkpoint_final.pth", weights_only=False)
    plain = half_labelled(nnUNetTrainer, configuration, labels=labels)
    plain.initialize()
    plain.network.load_state_dict(final["network_weights"])
    assert (final["nnunet_ext"]["round"], final["nnunet_ext"]["kept"]) == (2, [*kept[1]])


def begun(half_labelled: Make, labels: str = "plain", configuration: str = "3d_fullres", **own: Any) -> Any:
    """Return a trainer that has just begun its first round, by a network that finds something."""
    own = {"selection": []} | own
    trainer = half_labelled(SelfTrainingTrainer, configuration, labels=labels, num_epochs=2, self_training=own)
    trainer.on_train_start()
    with torch.no_grad():
        trainer.network.decoder.seg_layers[-1].bias.copy_(
            torch.linspace(0, 0.5, trainer.network.decoder.seg_layers[-1].bias.numel())
        )
    trainer.current_epoch = 1
    trainer._renew_pseudo_labels()
    return trainer


def test_a_step_that_mixes_exchanges_images_and_labels_alike(half_labelled: Make, monkeypatch):
    trainer = begun(half_labelled, mixing_share=1)
    batch, given = next(trainer.dataloader_train), {}
    monkeypatch.setattr(PseudoLabelTrainer.__mro__[1], "train_step", lambda self, batch: given.update(batch) or {})
    trainer.train_step(dict(batch))
    box = mixing_box(batch["data"].shape[2:], 1, [0.3, 0.67], trainer.box_generator(batch["step"]))
    for one, other in (("data", "unlabelled"), ("target", "pseudo_target")):
        mixed, back = exchange(batch[one], batch[other], box)
        torch.testing.assert_close(given[one], mixed, rtol=0, atol=0)
        torch.testing.assert_close(given[other], back, rtol=0, atol=0)
    assert not torch.equal(given["data"], batch["data"])
    given.clear()
    trainer.knobs["self_training"]["mixing_share"] = 0
    trainer.train_step(dict(batch))
    assert given["data"] is batch["data"]


def unlabelled(trainer: Any) -> Path:
    return Path(trainer.preprocessed_dataset_folder_base) / f"LitePlans_{trainer.configuration_name}_unlabelled"


@pytest.mark.parametrize("labels", ["plain", "ignore", "regions", "regions ignore"])
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_voxels_below_the_confidence_do_not_count(half_labelled: Make, labels: str, configuration: str):
    """All voxels are unsure: only the labels are trained on, and mixed steps ignore what was pasted."""
    trainer = begun(half_labelled, labels, configuration, confidence=0.99, mixing_share=1)
    number = trainer._unsure.label
    assert number == (trainer.label_manager.ignore_label or max(trainer.label_manager.all_labels) + 1)
    images = PseudoLabelled(unlabelled(trainer), trainer._unlabelled_cases, trainer.pseudo_labels)
    assert {int(value) for case in images.identifiers for value in np.unique(images.labels(case))} <= {-1, number}

    def unsure(batch: dict[str, Any]) -> torch.Tensor:
        pseudo = batch["pseudo_target"][0]
        return pseudo[:, -1:].bool() if trainer.label_manager.has_regions else pseudo == number

    batches = [next(trainer.dataloader_train) for _ in range(9)]
    batch = next(batch for batch in batches if unsure(batch).any())  # others are outside the body
    ignored = unsure(batch)
    assert np.isfinite(trainer.train_step(dict(batch))["loss"])
    step = trainer.training_step(batch)
    logits = [
        torch.randn(4, trainer.label_manager.num_segmentation_heads, *scale.shape[2:], requires_grad=True)
        for scale in batch["target"]
    ]
    trainer.loss(logits, step).backward()
    gradient = logits[0].grad[2:].abs().sum(1, keepdim=True)
    assert (gradient[ignored] == 0).all()
    assert (gradient[~ignored] > 0).all()
    trainer.validation_step(next(trainer.dataloader_val))


@pytest.mark.parametrize("where", ["early prediction", "prediction", "first step", "round", "last part"])
def test_a_run_that_was_killed_and_continued_repeats_an_uninterrupted_one(half_labelled: Make, monkeypatch, where: str):
    knobs = SIX | {"save_every": 3 if where == "prediction" else 1, "self_training": ALL}
    whole = half_labelled(SelfTrainingTrainer, run="whole", **knobs)
    whole.run_training()

    killed = half_labelled(SelfTrainingTrainer, run="killed", **knobs)
    predicted: list[str] = []
    predict, on_train_epoch_start = predicting._predict, killed.on_train_epoch_start
    dies_at = {"early prediction": 1, "prediction": 4}.get(where)  # 3 predictions each

    def dies_predicting(trainer: Any, case: str, *rest: Any) -> None:
        if len(predicted) == dies_at:
            raise KilledError
        predict(trainer, case, *rest)
        predicted.append(case)

    def dies() -> None:
        if killed.current_epoch == {"first step": 4, "round": 5, "last part": 5}.get(where):
            if where == "first step":  # a round whose data are gone before its first step
                shutil.rmtree(killed.pseudo_labels.place)
            raise KilledError
        on_train_epoch_start()

    monkeypatch.setattr(predicting, "_predict", dies_predicting)
    monkeypatch.setattr(killed, "on_train_epoch_start", dies)
    with pytest.raises(KilledError):
        killed.run_training()
    torch.rand(17)  # another process has other random numbers
    monkeypatch.setattr(
        predicting, "_predict", lambda trainer, case, *rest: (predicted.append(case), predict(trainer, case, *rest))
    )
    continued = half_labelled(SelfTrainingTrainer, run="killed", continued=True, **knobs)
    continued.load_checkpoint(str(Path(killed.output_folder) / "checkpoint_latest.pth"))
    continued.run_training()
    assert len(predicted) == 9 + 3 * (where == "first step")  # predicted again
    assert_equal(continued, whole)
    for number in (1, 2):
        files = [Path(one.output_folder) / f"selection_{number}.csv" for one in (continued, whole)]
        assert files[0].read_text() == files[1].read_text()


def test_a_selection_is_kept_in_the_checkpoint(half_labelled: Make):
    """The cases of a round that goes on are those of the checkpoint, whatever the CSV says."""
    own = {"selection": [0.4]}
    trainer = half_labelled(SelfTrainingTrainer, self_training=own, **SIX | {"num_epochs": 4})
    trainer.run_training()
    state = trainer.extra_state()
    other = half_labelled(SelfTrainingTrainer, self_training=own, run="other", **SIX | {"num_epochs": 4})
    other.load_extra_state(state)
    assert (other._round, other._kept) == (trainer._round, trainer._kept) == (2, tuple(state["kept"]))
    assert len(state["kept"]) == 1


def test_an_early_prediction_that_is_gone_is_told_before_the_training_goes_on(half_labelled: Make):
    knobs = SIX | {"self_training": ALL}
    trainer = half_labelled(SelfTrainingTrainer, **knobs)
    trainer.on_train_start()
    trainer.current_epoch = 2
    trainer._renew_pseudo_labels()
    assert trainer._round == 0
    shutil.rmtree(trainer.pseudo_labels.place)
    with pytest.raises(UserError, match=r"pseudo_labels_0: expected the pseudo-labels that .*found them deleted"):
        trainer.get_dataloaders()
    trainer.current_epoch = 5  # no round follows
    trainer._round = 2
    trainer.get_dataloaders()


def test_shares_that_leave_nothing_for_the_rounds_are_refused(half_labelled: Make):
    own = {"supervised_share": 0.6, "fine_tune_share": 0.4}
    with pytest.raises(UserError, match=r"supervised_share and fine_tune_share to add up to less than 1.*0.6 and 0.4"):
        half_labelled(SelfTrainingTrainer, self_training=own).initialize()
    half_labelled(SelfTrainingTrainer, self_training=own | {"rounds": 0}).initialize()


def test_too_few_epochs_for_the_rounds_are_told(half_labelled: Make, capsys):
    half_labelled(SelfTrainingTrainer, num_epochs=2).on_train_start()
    assert "WARNING: 2 epochs have room for 1 of 2 rounds" in capsys.readouterr().out


@pytest.mark.parametrize(
    "knob",
    [
        {"supervised_share": 1},
        {"rounds": -1},
        {"rounds": 1.5},
        {"selection": [0.6, 0]},
        {"selection": 0.6},
        {"mixing_share": 1.1},
        {"mixing_box": [0.6, 0.3]},
        {"mixing_box": [0.3]},
        {"fine_tune_share": 1},
        {"fine_tune_rate": 0},
        {"confidence": 1},
        {"mirroring": 2},
    ],
)
def test_illegal_knobs_are_refused(half_labelled: Make, knob):
    with pytest.raises(UserError, match=rf"knob 'self_training\.{next(iter(knob))}' expects"):
        half_labelled(SelfTrainingTrainer, self_training=knob)
