"""Real fine-tunings on phantoms: from a stock checkpoint, in every strategy, killed and continued."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_training import train_until_killed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.base.checkpoints import EXTRA
from nnunet_ext.base.knobs import resolve
from nnunet_ext.base.method import methods
from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.errors import UserError
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.methods.fine_tune.trainer import FineTuneTrainer
from nnunet_ext.networks.lora import has_lora

Make = Callable[..., Any]
STANDS_STILL = 1e-12


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)


@pytest.fixture(scope="module")
def _sources() -> dict[str, dict[str, Any]]:
    return {}


@pytest.fixture
def source(half_labelled: Make, tmp_path: Path, _sources: dict[str, dict[str, Any]]) -> Callable[..., Path]:
    """The checkpoint of a stock training, with changes."""

    def trained(configuration: str = "2d", labels: str = "plain", **changes: Any) -> Path:
        kind = f"{configuration} {labels}"
        if kind not in _sources:
            trainer = half_labelled(nnUNetTrainer, configuration, labels=labels, run="source")
            trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 1, 6, 1
            trainer.run_training()
            _sources[kind] = torch.load(Path(trainer.output_folder) / "checkpoint_final.pth", weights_only=False)
        file = tmp_path / "source.pth"
        torch.save(_sources[kind] | changes, file)
        return file

    return trained


def fold(trainer: Any) -> Path:
    return Path(trainer.output_folder)


def log_of(trainer: Any) -> str:
    return "\n".join(file.read_text() for file in sorted(fold(trainer).glob("training_log_*.txt")))


def checkpoint(trainer: Any, name: str = "checkpoint_final.pth") -> dict[str, Any]:
    return torch.load(fold(trainer) / name, weights_only=False, map_location="cpu")


def scores(trainer: Any) -> list[list[float]]:
    return trainer.logger.get_value("dice_per_class_or_region", step=None)


@pytest.mark.parametrize(
    ("given", "rate"),
    [({}, 1e-3), ({"optimizer": "SGD"}, 1e-3), ({"optimizer": "PlainSGD"}, 1e-3), ({"optimizer": "AdamW"}, 1e-4)],
)
def test_a_named_optimizer_does_not_end_the_careful_training(given: dict[str, str], rate: float) -> None:
    """AdamW at the rate of nnU-Net's pretrained Primus networks; what the plans set counts."""
    card = methods()["fine_tune"]
    for own in ({}, {"num_epochs": 5}, {"initial_lr": 0.2}, {"warm_up": 0.3}):
        plans = {"nnunet_ext": {**given, **own}, "configurations": {"2d": {}}}
        found = resolve(plans, "2d", FineTuneTrainer.recipe, FineTuneTrainer.recipe_with)
        expected = {"optimizer": "SGD", "initial_lr": rate, "num_epochs": 150, "warm_up": 0.1, **given, **own}
        assert {name: found[name] for name in expected} == expected
    assert FineTuneTrainer.recipe_with == card.recipe_with


@pytest.mark.parametrize("strategy", [None, "head_first", "frozen_encoder", "layer_wise", "lora"])
def test_killed_and_continued(half_labelled: Make, source: Any, strategy: str | None) -> None:
    """The weights, losses and reports of an uninterrupted training; stock nnU-Net predicts alike from the result."""
    fine_tune = {"strategy": strategy, "head_epochs": 0.5}
    knobs = {"num_epochs": 3, "num_iterations_per_epoch": 2, "init_from": str(source()), "fine_tune": fine_tune}
    whole = half_labelled(FineTuneTrainer, "2d", run="whole", **knobs)
    assert (whole.initial_lr, whole.knobs["warm_up"]) == (1e-3, 0.1)
    whole.run_training()

    killed = half_labelled(FineTuneTrainer, "2d", run="killed", **knobs)
    train_until_killed(killed, 2)
    continued = half_labelled(FineTuneTrainer, "2d", run="killed", continued=True, **knobs)
    continued.load_checkpoint(str(fold(continued) / "checkpoint_latest.pth"))
    assert continued.current_epoch == 2
    continued.run_training()

    one, other = checkpoint(whole), checkpoint(continued)
    assert all(torch.equal(tensor, other["network_weights"][name]) for name, tensor in one["network_weights"].items())
    for key in ("train_losses", "val_losses", "ema_fg_dice", "lrs"):
        assert one["logging"][key] == other["logging"][key]
    assert one[EXTRA]["start"] == other[EXTRA]["start"]
    reports = [json.loads((fold(each) / "fine_tuning.json").read_text()) for each in (whole, continued)]
    assert reports[0] == reports[1]
    before = torch.load(knobs["init_from"], weights_only=False)["network_weights"]
    assert one["network_weights"].keys() == before.keys()
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, one["network_weights"][name])}
    if strategy == "frozen_encoder":
        assert not any("encoder." in name for name in moved)
    else:
        assert any(name.startswith("encoder.") and "conv" in name for name in moved)
    assert any(".seg_layers." in name for name in moved)
    _check_stock_agrees(half_labelled, whole)


def _check_stock_agrees(half_labelled: Make, trainer: Any) -> None:
    content = checkpoint(trainer) | {"trainer_name": "nnUNetTrainer"}
    stock = half_labelled(nnUNetTrainer, "2d", run="stock")
    file = fold(stock) / "checkpoint_final.pth"
    torch.save(content, file)
    stock.load_checkpoint(str(file))
    image = torch.randn(1, 1, *trainer.configuration_manager.patch_size)
    with torch.no_grad():
        ours, theirs = (each.network.eval()(image)[0] for each in (trainer, stock))
    assert (ours - theirs).abs().max() < 1e-5


def test_the_start_is_scored_on_the_first_epochs_batches(half_labelled: Make, source: Any) -> None:
    """A network that stands still has the score of its start in every epoch's batches of that epoch."""
    file = str(source())
    trainer = half_labelled(FineTuneTrainer, "2d", init_from=file, optimizer="SGD", initial_lr=STANDS_STILL)
    trainer.run_training()
    report = json.loads((fold(trainer) / "fine_tuning.json").read_text())
    names = list(foreground_classes(trainer.dataset_json))
    assert [row["class"] for row in report["classes"]] == names
    assert all(row["known"] for row in report["classes"])
    assert [row["before"] for row in report["classes"]] == pytest.approx(scores(trainer)[0])
    assert [row["after"] for row in report["classes"]] == pytest.approx(scores(trainer)[-1])
    assert report["source"] == file
    assert "Start, pseudo Dice before any step" in log_of(trainer)
    assert "| class | before | after | best | |" in log_of(trainer)
    start = checkpoint(trainer, "checkpoint_start.pth")
    assert start["current_epoch"] == 0
    weights = torch.load(file, weights_only=False)["network_weights"]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in start["network_weights"].items())
    assert len(trainer.logger.get_value("val_losses", step=None)) == 2


def test_a_training_that_makes_it_worse_warns(half_labelled: Make, source: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        "nnunet_ext.methods.fine_tune.trainer.pseudo_dice", lambda outputs: (2.0,) * len(outputs[0]["tp_hard"])
    )
    trainer = half_labelled(FineTuneTrainer, "2d", init_from=str(source()), num_epochs=1)
    trainer.run_training()
    warned = [line for line in log_of(trainer).splitlines() if "WARNING: checkpoint_" in line]
    assert [line.split("WARNING: ")[1].split()[0] for line in warned] == ["checkpoint_best.pth", "checkpoint_final.pth"]


@pytest.mark.parametrize("labels", ["plain", "regions"])
def test_classes_that_the_source_does_not_know(half_labelled: Make, source: Any, labels: str) -> None:
    """A renamed class is new; a source without any of them keeps no start and never warns."""
    file = source(labels=labels)
    content = torch.load(file, weights_only=False)
    described = content["init_args"]["dataset_json"]
    names = list(foreground_classes(described))
    described["labels"] = {"other" if name == names[-1] else name: v for name, v in described["labels"].items()}
    torch.save(content, file)
    trainer = half_labelled(FineTuneTrainer, "2d", labels=labels, init_from=str(file), num_epochs=1)
    trainer.run_training()
    rows = json.loads((fold(trainer) / "fine_tuning.json").read_text())["classes"]
    assert [row["known"] for row in rows] == [name != names[-1] for name in names]
    described["labels"] = {name if name == "background" else f"no {name}": v for name, v in described["labels"].items()}
    torch.save(content, file)
    trainer = half_labelled(FineTuneTrainer, "2d", labels=labels, run="none", init_from=str(file), num_epochs=1)
    trainer.run_training()
    rows = json.loads((fold(trainer) / "fine_tuning.json").read_text())["classes"]
    assert not any(row["known"] for row in rows)
    assert not (fold(trainer) / "checkpoint_start.pth").exists()
    assert "WARNING: checkpoint_" not in log_of(trainer)


@pytest.mark.parametrize(
    ("classes", "known"),
    [("by_name", [True, True, False]), ({"tumour": "other"}, [True] * 3), ("fresh", [False] * 3)],
)
def test_which_class_is_which(half_labelled: Make, source: Any, classes: Any, known: list[bool]) -> None:
    """A class is known if the source's row became its own."""
    file = source()
    content = torch.load(file, weights_only=False)
    described = content["init_args"]["dataset_json"]
    described["labels"] = {"other" if name == "tumour" else name: v for name, v in described["labels"].items()}
    torch.save(content, file)
    trainer = half_labelled(FineTuneTrainer, "2d", init_from=str(file), init_from_classes=classes)
    trainer.on_train_start()
    assert [name in trainer._known for name in foreground_classes(trainer.dataset_json)] == known
    heads = [name for name in content["network_weights"] if ".seg_layers." in name]
    same = all(torch.equal(content["network_weights"][name], trainer.network.state_dict()[name]) for name in heads)
    assert same == all(known)


def test_rows_by_position_are_no_known_classes(half_labelled: Make, source: Any) -> None:
    """Of a source whose classes nobody can tell; the log says what was done, and nothing is compared."""
    file = source()
    content = torch.load(file, weights_only=False)
    del content["init_args"]["dataset_json"]
    torch.save(content, file)
    trainer = half_labelled(FineTuneTrainer, "2d", init_from=str(file), num_epochs=1)
    trainer.run_training()
    rows = json.loads((fold(trainer) / "fine_tuning.json").read_text())["classes"]
    assert not any(row["known"] for row in rows)
    assert not (fold(trainer) / "checkpoint_start.pth").exists()
    assert "labels of the file unknown, rows by position" in log_of(trainer)


def test_validated_again(half_labelled: Make, source: Any) -> None:
    """``--val`` and ``--val_best`` of LoRA: the trainer's own checkpoints, whose networks have factors again."""
    knobs = {"init_from": str(source()), "num_epochs": 1, "fine_tune": {"strategy": "lora"}}
    trainer = half_labelled(FineTuneTrainer, "2d", **knobs)
    trainer.run_training()
    expected = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    again = half_labelled(FineTuneTrainer, "2d", **knobs)
    for name in ("checkpoint_final.pth", "checkpoint_best.pth"):
        again.load_checkpoint(str(fold(again) / name))
        assert has_lora(again.network)
        assert all(torch.equal(tensor, expected[key]) for key, tensor in again.network.state_dict().items())
    again.perform_actual_validation()
    summary = json.loads((fold(again) / "validation" / "summary.json").read_text())
    assert 0 <= summary["foreground_mean"]["Dice"] <= 1


@pytest.mark.parametrize("trainer", [FineTuneTrainer, NNUNetBaselineTrainer])
def test_no_source(half_labelled: Make, trainer: type[Any]) -> None:
    knobs = {} if trainer is FineTuneTrainer else {"fine_tune": {"strategy": "lora"}}
    made = half_labelled(trainer, "2d", **knobs)
    with pytest.raises(UserError, match=r"expected a trained model to start from .* Set the knob init_from"):
        made.run_training()
    assert not list(fold(made).glob("*.pth"))


def test_a_source_that_leaves_frozen_layers_random(half_labelled: Make, source: Any) -> None:
    file = source()
    content = torch.load(file, weights_only=False)
    for name in [name for name in content["network_weights"] if "encoder.stages.1." in name]:
        del content["network_weights"][name]
    torch.save(content, file)
    knobs = {"init_from": str(file), "fine_tune": {"strategy": "frozen_encoder"}}
    with pytest.raises(UserError, match=r"expects that init_from fills what stays frozen, .*encoder\.stages\.1"):
        half_labelled(FineTuneTrainer, "2d", **knobs).run_training()


@pytest.mark.parametrize("name", ["MeanTeacherTrainer", "LeFeDTrainer", "PseudoLabelTrainer"])
def test_lora_in_semi_supervised_trainers(half_labelled: Make, source: Any, name: str) -> None:
    """A teacher, several optimizer steps for a batch, a second optimizer and the first weights again."""
    from nnunet_ext import sockets

    trainer = half_labelled(
        sockets.load("trainers", name), "2d", init_from=str(source()), fine_tune={"strategy": "lora", "lora_rank": 2}
    )
    trainer.run_training()
    assert has_lora(trainer.bare_network)
    weights = checkpoint(trainer)["network_weights"]
    assert not any("parametrizations" in key for key in weights)
    before = torch.load(trainer.knobs["init_from"], weights_only=False)["network_weights"]
    assert not torch.equal(
        weights["encoder.stages.0.0.convs.0.conv.weight"], before["encoder.stages.0.0.convs.0.conv.weight"]
    )
    state = {"teacher": trainer.extra_state()["teacher"]} if name == "MeanTeacherTrainer" else {}
    for tensors in state.values():
        assert tensors["network"].keys() == weights.keys()
