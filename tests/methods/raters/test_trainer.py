"""Trainings on the maps of several raters: reductions to nnU-Net, what each mode sees, views, refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.cli.main import main
from nnunet_ext.errors import UserError
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.methods.raters.trainer import RatersTrainer

Make = Callable[..., Any]
NAME = "Dataset701_Rated"
WORDS = "preprocess_raters -d 701 -p LitePlans --no_pbar -np 1 -c 3d_fullres"
MODES = ("random", "soft", "agreement", "heads", "padl", "majority")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)


def trained(trainer: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    trainer.run_training()
    losses = trainer.logger.get_value("train_losses", step=None) + trainer.logger.get_value("val_losses", step=None)
    return losses, trainer.bare_network.state_dict()


def same(one: Any, other: Any) -> bool:
    return one[0] == other[0] and all(torch.equal(one[1][name], tensor) for name, tensor in other[1].items())


def rate_as(root: Path, configuration: str, *raters: str) -> None:
    """Let some raters draw labelsTr."""
    raw = root / "raw" / NAME
    shutil.rmtree(raw / "labelsTr_raters")
    for rater in raters:
        shutil.copytree(raw / "labelsTr", raw / "labelsTr_raters" / rater)
    assert main([*WORDS.split()[:-1], configuration]) == 0


@pytest.mark.parametrize(("labels", "configuration"), [("plain", "3d_fullres"), ("regions ignore", "2d")])
def test_majority_and_a_single_rater_are_nnunet(rated: Make, labels: str, configuration: str) -> None:
    """Same losses and weights, bit for bit."""
    root = rated(None, labels=labels)
    rate_as(root, configuration, "only")

    def run(trainer: type[Any], mode: str) -> Any:
        return trained(rated(trainer, configuration, labels=labels, run=mode, num_epochs=1, raters={"mode": mode}))

    stock = run(NNUNetBaselineTrainer, "soft")
    assert same(run(RatersTrainer, "majority"), stock)
    assert same(run(RatersTrainer, "random"), stock)


def test_identical_raters_have_the_same_first_loss(rated: Make) -> None:
    rate_as(rated(None), "3d_fullres", "a", "b", "c")
    steps = {"num_epochs": 1, "num_iterations_per_epoch": 1}
    losses = {
        mode: trained(rated(RatersTrainer, run=mode, raters={"mode": mode}, **steps))[0][0]
        for mode in ("majority", "random", "soft")
    }
    assert len(set(losses.values())) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("labels", "configuration"), [("plain", "3d_fullres"), ("regions ignore", "2d")])
def test_every_mode_trains(rated: Make, mode: str, labels: str, configuration: str) -> None:
    trainer = rated(RatersTrainer, configuration, labels=labels, num_epochs=1, raters={"mode": mode})
    losses, _ = trained(trainer)
    assert np.isfinite(losses).all()
    for part in trainer.loss_parts:
        assert np.isfinite(trainer.logger.get_value(part, step=None)).all()


def test_a_batch_has_the_maps_of_its_cases(rated: Make) -> None:
    """Channel by channel what was preprocessed, through all of nnU-Net's augmentation of a sample without any."""
    trainer = rated(RatersTrainer, raters={"mode": "soft"})
    trainer.initialize()
    train, val = trainer.get_dataloaders()
    batch = next(train)
    assert batch["target"][0].shape[1] == 4
    assert next(val)["target"][0].shape[1] == 1
    present = trainer._present(batch["keys"])
    assert present.shape == (2, 3)
    assert trainer._present(["case_001", "case_002"]).tolist() == [[True, True, False], [False] * 3]


def test_drawn_raters_are_present_ones_and_depend_on_the_seed(rated: Make) -> None:
    trainer = rated(RatersTrainer, seed=3)
    present = torch.tensor([[True, True, True], [False, True, False], [False] * 3])

    def draws(epoch: int) -> list[list[int]]:
        trainer.current_epoch = epoch
        trainer.on_train_epoch_start()
        return [trainer.draw(present) for _ in range(40)]

    trainer.initialize()
    first = draws(0)
    assert {sample[0] for sample in first} == {1, 2, 3}
    assert {tuple(sample[1:]) for sample in first} == {(2, 0)}
    assert draws(0) == first
    assert draws(1) != first


@pytest.mark.parametrize("mode", ["random", "padl"])
def test_resumes_where_it_stopped(rated: Make, mode: str) -> None:
    knobs = {"num_epochs": 2, "num_iterations_per_epoch": 2, "raters": {"mode": mode}}
    whole = trained(rated(RatersTrainer, run="whole", **knobs))
    stopped = rated(RatersTrainer, run="stopped", **knobs)
    stopped.on_train_start()
    _run_epoch(stopped)
    stopped.save_checkpoint(str(Path(stopped.output_folder) / "checkpoint_latest.pth"))
    again = rated(RatersTrainer, run="stopped", continued=True, **knobs)
    again.load_checkpoint(str(Path(again.output_folder) / "checkpoint_latest.pth"))
    assert same(trained(again), whole)


def _run_epoch(trainer: Any) -> None:
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    trainer.on_train_epoch_end([trainer.train_step(next(trainer.dataloader_train)) for _ in range(2)])
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        trainer.on_validation_epoch_end([trainer.validation_step(next(trainer.dataloader_val))])
    trainer.on_epoch_end()


@pytest.mark.parametrize("mode", ["heads", "padl"])
def test_views_predict_the_opinion_of_each_rater(rated: Make, mode: str) -> None:
    """From their own plans, as nnU-Net's predictor builds networks."""
    trainer = rated(RatersTrainer, num_epochs=1, raters={"mode": mode})
    _, weights = trained(trainer)
    model = Path(trainer.output_folder_base)
    images = torch.randn(1, 1, *trainer.configuration_manager.patch_size)
    trainer.set_deep_supervision_enabled(False)
    own = trainer.bare_network.train()(images)
    for number, rater in enumerate(("exact", "generous", "strict")):
        view = model.with_name(f"RatersTrainer__LitePlans_{rater}__3d_fullres")
        plans = json.loads((view / "plans.json").read_text())
        assert plans["plans_name"] == f"LitePlans_{rater}"
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        manager = PlansManager(plans)
        build = RatersTrainer.build_network_architecture
        network = build(manager, manager.get_configuration("3d_fullres"), 1, 4, enable_deep_supervision=False)
        stored = torch.load(view / "fold_all" / "checkpoint_final.pth", weights_only=False)["network_weights"]
        network.load_state_dict(stored)
        assert all(torch.equal(stored[name], tensor) for name, tensor in weights.items())
        expected = own.raters[number] if mode == "heads" else own.opinions.raters[number]
        torch.testing.assert_close(network.eval()(images), expected)
        shutil.rmtree(view)
    assert main(["task_views", "-d", "701", "-tr", "RatersTrainer", "-p", "LitePlans"]) == 0
    assert (
        model.with_name("RatersTrainer__LitePlans_exact__3d_fullres") / "fold_all" / "checkpoint_final.pth"
    ).exists()


def test_another_model_at_the_place_of_a_view_is_kept(rated: Make, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = rated(RatersTrainer, num_epochs=1, raters={"mode": "heads"})
    model = Path(trainer.output_folder_base)
    other = model.with_name("RatersTrainer__LitePlans_exact__3d_fullres")
    other.mkdir(parents=True)
    (other / "plans.json").write_text(json.dumps(trainer.plans_manager.plans | {"plans_name": "LitePlans_exact"}))
    text = "LitePlans_exact__3d_fullres: expected the view of rater 'exact' of RatersTrainer__LitePlans__3d_fullres, or"
    assert text in refusal(rated, raters={"mode": "heads"})
    before = (other / "plans.json").read_bytes()
    shutil.rmtree(other)
    trained(trainer)
    shutil.rmtree(other)
    other.mkdir()
    (other / "plans.json").write_bytes(before)
    assert main(["task_views", "-d", "701", "-tr", "RatersTrainer", "-p", "LitePlans"]) == 2
    assert text in capsys.readouterr().err
    assert (other / "plans.json").read_bytes() == before
    view = "LitePlans_strict"
    assert main(["task_views", "-d", "701", "-tr", "RatersTrainer", "-p", view]) == 2
    assert "expected a trained model, got the view of its rater 'strict'" in capsys.readouterr().err


def refusal(rated: Make, **knobs: Any) -> str:
    with pytest.raises(UserError) as caught:
        rated(RatersTrainer, **knobs).run_training()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_raters(rated: Make) -> None:
    for place in (rated(None) / "preprocessed" / NAME).glob("*_raters*"):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    for mode in ("random", "heads"):
        text = refusal(rated, raters={"mode": mode})
        assert "expected preprocessed maps of several raters for plans 'LitePlans', found none: they were never" in text
    trained(rated(RatersTrainer, num_epochs=1, raters={"mode": "majority"}))


def test_a_rater_without_a_case_of_the_fold(rated: Make) -> None:
    raw = rated(None) / "raw" / NAME / "labelsTr_raters" / "strict"
    for case in ("case_000", "case_003"):
        (raw / f"{case}.nii.gz").unlink()
    assert main(["preprocess_raters", "-d", "701", "-p", "LitePlans", "--no_pbar", "-np", "1"]) == 0
    splits = [{"train": ["case_000", "case_001", "case_003"], "val": ["case_002", "case_004"]}]
    (rated(None) / "preprocessed" / NAME / "splits_final.json").write_text(json.dumps(splits))
    text = refusal(rated, fold=0, raters={"mode": "heads"})
    assert "expected a training case of each rater in fold 0, found none of 'strict', whose head" in text
    trained(rated(RatersTrainer, fold=0, num_epochs=1))


def test_exchangeable_raters_have_no_heads(rated: Make) -> None:
    file = rated(None) / "preprocessed" / NAME / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"raters": "exchangeable"}))
    text = refusal(rated, raters={"mode": "padl"})
    assert "expected raters who are persons for raters.mode=padl, found exchangeable samples" in text
    trained(rated(RatersTrainer, num_epochs=1, raters={"mode": "soft"}))


def test_plans_of_a_view_are_not_trained_on(rated: Make) -> None:
    assert "found those of the view of rater 'exact'" in refusal(rated, raters={"mode": "heads", "predict": "exact"})


def test_an_unknown_rater(rated: Make) -> None:
    with pytest.raises(UserError, match=r"expected a rater of the training, got 'exakt'. Did you mean 'exact'\?"):
        rated(RatersTrainer, raters={"mode": "heads", "predict": "exakt"}).initialize()
    with pytest.raises(UserError, match=r"expected raters.mode heads or padl, which have an opinion of each rater"):
        rated(RatersTrainer, raters={"predict": "exact"}).initialize()


def test_resuming_with_other_raters(rated: Make) -> None:
    first = rated(RatersTrainer, num_epochs=1)
    first.run_training()
    raw = rated(None) / "raw" / NAME / "labelsTr_raters"
    shutil.copytree(raw / "exact", raw / "new")
    assert main(["preprocess_raters", "-d", "701", "-p", "LitePlans", "--no_pbar", "-np", "1"]) == 0
    again = rated(RatersTrainer, num_epochs=1, continued=True)
    with pytest.raises(UserError, match="expected the raters that the training began with, exact, generous, strict,"):
        again.load_checkpoint(str(Path(again.output_folder) / "checkpoint_final.pth"))


def test_heads_of_other_raters(rated: Make) -> None:
    """Refused before nnU-Net loads weights of more or fewer heads."""
    knobs = {"num_epochs": 1, "raters": {"mode": "heads"}}
    rated(RatersTrainer, **knobs).run_training()
    raw = rated(None) / "raw" / NAME / "labelsTr_raters"
    shutil.copytree(raw / "exact", raw / "new")
    assert main(["preprocess_raters", "-d", "701", "-p", "LitePlans", "--no_pbar", "-np", "1"]) == 0
    for continued in (True, False):  # --c, --val
        again = rated(RatersTrainer, continued=continued, **knobs)
        with pytest.raises(UserError, match="the raters that the training began with, exact, generous, strict,"):
            again.load_checkpoint(str(Path(again.output_folder) / "checkpoint_final.pth"))
