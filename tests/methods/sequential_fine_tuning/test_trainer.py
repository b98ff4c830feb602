"""Real retention stages on phantoms: what moves, what stays, what is refused, killed and continued."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_training import KilledError, train_until_killed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.base.checkpoints import EXTRA
from nnunet_ext.base.knobs import resolve
from nnunet_ext.errors import UserError
from nnunet_ext.methods.sequential_fine_tuning.buffer import write_buffer
from nnunet_ext.methods.sequential_fine_tuning.trainer import SequentialFineTuningTrainer

Make = Callable[..., Any]
Weights = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)


@pytest.fixture(scope="module")
def _kept() -> dict[str, dict[str, Any]]:
    return {}


@pytest.fixture
def models(half_labelled: Make, tmp_path: Path, _kept: dict[str, dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Knobs that name an earlier model, and as the task's model the same with other weights, ``noise`` of them."""

    def made(labels: str = "plain", noise: float = 0.3) -> dict[str, Any]:
        if labels not in _kept:
            trainer = half_labelled(nnUNetTrainer, "2d", labels=labels, run="source")
            trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 1, 6, 1
            trainer.run_training()
            _kept[labels] = torch.load(fold(trainer) / "checkpoint_final.pth", weights_only=False)
        earlier = _kept[labels]
        torch.manual_seed(3)
        names: dict[int, torch.Tensor] = {}
        task = {}
        for name, tensor in earlier["network_weights"].items():
            if tensor.data_ptr() not in names:
                names[tensor.data_ptr()] = tensor + noise * tensor.std(correction=0) * torch.randn_like(tensor)
            task[name] = names[tensor.data_ptr()]
        torch.save(earlier, tmp_path / "earlier.pth")
        torch.save(earlier | {"network_weights": task}, tmp_path / "task.pth")
        return {
            "init_from": str(tmp_path / "earlier.pth"),
            "sequential_fine_tuning": {"task_model": str(tmp_path / "task.pth")},
        }

    return made


def fold(trainer: Any) -> Path:
    return Path(trainer.output_folder)


def log_of(trainer: Any) -> str:
    return "\n".join(file.read_text() for file in sorted(fold(trainer).glob("training_log_*.txt")))


def checkpoint(trainer: Any) -> dict[str, Any]:
    return torch.load(fold(trainer) / "checkpoint_final.pth", weights_only=False, map_location="cpu")


def moved(before: Weights, after: Weights) -> float:
    """Return how far all weights are from where they were."""
    return sum((after[name] - tensor).square().sum().item() for name, tensor in before.items()) ** 0.5


def test_the_recipe() -> None:
    plans = {"nnunet_ext": {}, "configurations": {"2d": {}}}
    trainer = SequentialFineTuningTrainer
    found = resolve(plans, "2d", trainer.recipe, trainer.recipe_with)
    expected = {"optimizer": "AdamW", "initial_lr": 1e-3, "weight_decay": 0.0, "num_epochs": 30}
    assert {name: found[name] for name in expected} == expected
    assert found["sequential_fine_tuning"] == {"task_model": None, "buffer": None, "retention_weight": 1.0}
    plans["nnunet_ext"] = {"optimizer": "SGD"}
    assert resolve(plans, "2d", trainer.recipe, trainer.recipe_with)["num_epochs"] == 30


def test_it_takes_over_and_keeps(half_labelled: Make, models: Any) -> None:
    """LoRA and norms move and both features' differences shrink; heads and biases of convolutions are bitwise the
    earlier ones; stock nnU-Net loads the checkpoint, and no teacher is in it.
    """
    knobs = models()
    trainer = half_labelled(
        SequentialFineTuningTrainer, "2d", **knobs, num_epochs=4, num_iterations_per_epoch=8, initial_lr=0.01
    )
    trainer.run_training()
    before = torch.load(knobs["init_from"], weights_only=False)["network_weights"]
    found = checkpoint(trainer)
    after = found["network_weights"]
    assert list(after) == list(before)
    still = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    assert {name for name in before if ".seg_layers." in name or name.endswith("conv.bias")} <= still
    assert any("conv.weight" in name and name not in still for name in before)
    assert any("norm.weight" in name and name not in still for name in before)
    task = found["logging"]["task_features"]
    assert task[-1] < task[0]
    assert found["logging"]["earlier_features"][0] < task[0]
    assert set(found[EXTRA]) == {"fine_tune", "began_with"}
    assert {key: type(value) for key, value in found[EXTRA]["began_with"].items()} == {"models": str, "cases": str}
    assert "LoRA: " in log_of(trainer)
    stock = half_labelled(nnUNetTrainer, "2d", run="stock")
    file = fold(stock) / "checkpoint_final.pth"
    torch.save(found | {"trainer_name": "nnUNetTrainer"}, file)
    stock.load_checkpoint(str(file))
    image = torch.randn(1, 1, *trainer.configuration_manager.patch_size)
    with torch.no_grad():
        ours, theirs = (each.network.eval()(image) for each in (trainer, stock))
    assert (ours[0] - theirs[0]).abs().max() < 1e-5


def test_a_large_weight_keeps_the_earlier_model(half_labelled: Make, models: Any) -> None:
    """Rate times weight is the same: the new data count a tenth, and earlier features have nothing to gain."""
    knobs = models()
    before = torch.load(knobs["init_from"], weights_only=False)["network_weights"]
    distances = []
    for weight, rate in ((0.0, 1e-2), (10.0, 1e-3)):
        own = knobs | {"sequential_fine_tuning": knobs["sequential_fine_tuning"] | {"retention_weight": weight}}
        settings = {"optimizer": "PlainSGD", "initial_lr": rate, "weight_decay": 0.0, "num_epochs": 1}
        trainer = half_labelled(SequentialFineTuningTrainer, "2d", run=f"weight {weight}", **own, **settings)
        trainer.run_training()
        distances.append(moved(before, checkpoint(trainer)["network_weights"]))
    assert 0 < distances[1] < 0.2 * distances[0]


def test_each_sample_follows_its_own_model(half_labelled: Make, models: Any) -> None:
    trainer = half_labelled(SequentialFineTuningTrainer, "2d", **models())
    trainer.initialize()
    images, count = torch.randn(3, 1, *trainer.configuration_manager.patch_size), 2
    step = trainer.training_step({"data": images, "new": count})
    teachers = trainer.teachers()
    with torch.no_grad():
        task, earlier = (each.features(images) for each in (teachers.task, teachers.earlier))
    assert not torch.equal(task[0], earlier[0])
    assert all(torch.equal(found, stage[:count]) for found, stage in zip(step.task, task, strict=True))
    assert all(torch.equal(found, stage[count:]) for found, stage in zip(step.earlier, earlier, strict=True))
    assert step.weight == 1.0


def test_nothing_to_take_over_and_nothing_to_lose(half_labelled: Make, models: Any) -> None:
    """F_t = M_{t-1}: loss and gradient are 0 in the first step, and no weight moves, weight decay or not."""
    knobs = models(noise=0.0)
    trainer = half_labelled(SequentialFineTuningTrainer, "2d", **knobs, num_epochs=1)
    gradients = []
    step = trainer.train_step

    def watched(batch: dict[str, Any]) -> dict[str, Any]:
        output = step(batch)
        gradients.extend(each.grad for each in trainer.network.parameters() if each.requires_grad)
        return output

    trainer.train_step = watched
    trainer.run_training()
    assert gradients
    assert not any(each is not None and each.any() for each in gradients)
    assert trainer.logger.get_value("train_losses", step=None) == [0.0]
    before = torch.load(knobs["init_from"], weights_only=False)["network_weights"]
    assert moved(before, checkpoint(trainer)["network_weights"]) == 0
    assert "task_model are equal: there is nothing to take over" in log_of(trainer)


@pytest.mark.parametrize("strategy", ["all", "frozen_encoder", "layer_wise"])
def test_the_heads_stay_in_every_strategy(half_labelled: Make, models: Any, strategy: str) -> None:
    knobs = models() | {"fine_tune": {"strategy": strategy}, "weight_decay": 0.1, "optimizer": "SGD"}
    trainer = half_labelled(SequentialFineTuningTrainer, "2d", **knobs, num_epochs=1)
    trainer.run_training()
    before = torch.load(knobs["init_from"], weights_only=False)["network_weights"]
    after = checkpoint(trainer)["network_weights"]
    still = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    assert {name for name in before if ".seg_layers." in name} <= still
    assert any(name.startswith("decoder.stages") and name not in still for name in before)
    assert (strategy == "frozen_encoder") == all(name in still for name in before if name.startswith("encoder."))


def test_killed_and_continued(half_labelled: Make, models: Any) -> None:
    """The weights, losses and scores of an uninterrupted training; other models or cases are refused."""
    knobs = models() | {"num_epochs": 3, "num_iterations_per_epoch": 2}
    whole = half_labelled(SequentialFineTuningTrainer, "2d", run="whole", **knobs)
    whole.run_training()
    killed = half_labelled(SequentialFineTuningTrainer, "2d", run="killed", **knobs)
    train_until_killed(killed, 2)

    def continued() -> Any:
        trainer = half_labelled(SequentialFineTuningTrainer, "2d", run="killed", continued=True, **knobs)
        trainer.load_checkpoint(str(fold(trainer) / "checkpoint_latest.pth"))
        return trainer

    file = Path(knobs["sequential_fine_tuning"]["task_model"])
    content = torch.load(file, weights_only=False)
    other = {name: tensor + 1 for name, tensor in content["network_weights"].items()}
    torch.save(content | {"network_weights": other}, file)
    with pytest.raises(UserError, match=r"expected the two models of the knobs .*, as the training began with"):
        continued().run_training()
    arguments = content["init_args"] | {"fold": 1}
    torch.save(content | {"init_args": arguments}, file)
    with pytest.raises(UserError, match="expected the same new data and buffer, as the training began with"):
        continued().run_training()
    torch.save(content, file)
    trainer = continued()
    trainer.run_training()
    one, two = checkpoint(whole), checkpoint(trainer)
    assert all(torch.equal(tensor, two["network_weights"][name]) for name, tensor in one["network_weights"].items())
    for key in ("train_losses", "val_losses", "task_features", "earlier_features"):
        assert one["logging"][key] == two["logging"][key]
    reports = [json.loads((fold(each) / "earlier_task.json").read_text()) for each in (whole, trainer)]
    assert reports[0] == reports[1]


@pytest.mark.parametrize("labels", ["plain", "ignore", "regions ignore"])
def test_the_earlier_task_is_scored(half_labelled: Make, models: Any, labels: str) -> None:
    """Without a step that moves anything, the first two networks are one; half of a network far away is another."""
    knobs = models(labels, noise=30.0) | {"optimizer": "PlainSGD", "initial_lr": 1e-15, "num_epochs": 1}
    trainer = half_labelled(SequentialFineTuningTrainer, "2d", labels=labels, **knobs)
    trainer.run_training()
    found = json.loads((fold(trainer) / "earlier_task.json").read_text())["networks"]
    assert list(found) == ["earlier model", "this model", "interpolation 0.5"]
    assert found["earlier model"] == found["this model"]
    assert found["interpolation 0.5"] != found["this model"]
    assert "| earlier class | earlier model | this model | interpolation 0.5 |" in log_of(trainer)
    assert trainer.network is not trainer.teachers().earlier


def test_a_buffer_of_its_own(half_labelled: Make, models: Any, tmp_path: Path) -> None:
    """The retention part sees nothing but the buffer, the task part nothing but the fold that the model trained on.

    What the fold validates on is left out of the buffer.
    """
    knobs = models()
    probe = half_labelled(SequentialFineTuningTrainer, "2d", run="probe", **knobs)
    training, validation = probe.do_split()
    file = tmp_path / "buffer.json"
    scores = [(name, 1.0) for name in (*validation, *training)]
    write_buffer(file, Path(probe.preprocessed_dataset_folder), scores, 1 + len(validation), {})
    own = knobs["sequential_fine_tuning"]
    for given in (str(file), [str(file), str(file)]):
        knobs["sequential_fine_tuning"] = own | {"buffer": given}
        trainer = half_labelled(SequentialFineTuningTrainer, "2d", run="buffer", **knobs)
        trainer.initialize()
        loader = trainer.get_dataloaders()[0].data_loader
        assert {name.partition("/")[2] for name in loader.unlabelled.indices} == {training[0]}
        assert {name.partition("/")[2] for name in loader.labelled.indices} == set(training)
        batch = next(loader)
        size = trainer.batch_size
        assert (len(batch["data"]), len(batch["buffer"])) == (size - max(1, size // 2), max(1, size // 2))
        if given == str(file):
            assert "New data: 4 cases of" in log_of(trainer)
            assert "Buffer: 1 case of" in log_of(trainer)
            assert "Buffer: 1 case left out, on which this fold validates" in log_of(trainer)
    write_buffer(file, Path(probe.preprocessed_dataset_folder), scores, len(validation), {})
    trainer = half_labelled(SequentialFineTuningTrainer, "2d", run="buffer", **knobs)
    trainer.initialize()
    with pytest.raises(UserError, match="expected a case that the fold does not validate on, found none"):
        trainer.get_dataloaders()


def test_scoring_that_fails_costs_nothing(half_labelled: Make, models: Any, monkeypatch: Any) -> None:
    knobs = models() | {"num_epochs": 1}

    def fails() -> None:
        raise KilledError

    killed = half_labelled(SequentialFineTuningTrainer, "2d", **knobs)
    monkeypatch.setattr(killed, "_score_earlier_task", fails)
    with pytest.raises(KilledError):
        killed.run_training()
    latest = fold(killed) / "checkpoint_latest.pth"
    weights = torch.load(latest, weights_only=False)["network_weights"]
    trainer = half_labelled(SequentialFineTuningTrainer, "2d", continued=True, **knobs)
    trainer.load_checkpoint(str(latest))
    trainer.run_training()
    found = checkpoint(trainer)
    assert moved(weights, found["network_weights"]) == 0
    assert len(found["logging"]["train_losses"]) == 1
    assert (fold(trainer) / "earlier_task.json").is_file()
    assert not latest.exists()


def test_what_is_refused(half_labelled: Make, models: Any, tmp_path: Path) -> None:
    knobs = models()
    own = knobs["sequential_fine_tuning"]

    def refused(match: str, **changes: Any) -> None:
        trainer = half_labelled(SequentialFineTuningTrainer, "2d", run="refused", **(knobs | changes))
        with pytest.raises(UserError, match=match):
            trainer.run_training()
        assert not list(fold(trainer).glob("*.pth"))

    refused("expected the earlier model, found the knob init_from not set", init_from=None)
    refused(
        r"expected the model that was fine-tuned on the new data, found the knob sequential_fine_tuning\.task_model",
        sequential_fine_tuning={},
    )
    refused("expected a strategy that leaves the heads as they are", fine_tune={"strategy": "head_first"})
    refused(
        r"knob 'sequential_fine_tuning\.task_model': expected an nnU-Net checkpoint, found no file",
        sequential_fine_tuning={"task_model": str(tmp_path / "none.pth")},
    )
    content = torch.load(own["task_model"], weights_only=False)
    other = tmp_path / "other.pth"
    weights = content["network_weights"]
    wider = {name: tensor[:1] if "stages.1." in name else tensor for name, tensor in weights.items()}
    torch.save(content | {"network_weights": wider}, other)
    expected = r"knob 'sequential_fine_tuning\.task_model': expected the network of these plans and labels, found "
    refused(expected + r"'encoder\.stages\.1\.\S+' of shape", sequential_fine_tuning={"task_model": str(other)})
    refused("knob 'init_from': expected the network of these plans and labels, found ", init_from=str(other))
    arguments = content["init_args"]
    torch.save(content | {"init_args": {}}, other)
    refused("expected a checkpoint that names its dataset", sequential_fine_tuning={"task_model": str(other)})
    gone = arguments | {"plans": arguments["plans"] | {"dataset_name": "Dataset998_Gone"}}
    torch.save(content | {"init_args": gone}, other)
    refused("expected its data, found no .*Dataset998_Gone", sequential_fine_tuning={"task_model": str(other)})
    described = arguments["dataset_json"]
    turned = described | {"channel_names": {"0": "T2", "1": next(iter(described["channel_names"].values()))}}
    torch.save(content | {"init_args": arguments | {"dataset_json": turned}}, other)
    refused("expected the channels in the order of these plans", sequential_fine_tuning={"task_model": str(other)})
    earlier = torch.load(knobs["init_from"], weights_only=False)
    described = earlier["init_args"]["dataset_json"]
    renamed = {f"other {name}" if number else name: number for name, number in described["labels"].items()}
    arguments = earlier["init_args"] | {"dataset_json": described | {"labels": renamed}}
    torch.save(earlier | {"init_args": arguments}, other)
    refused("knob 'init_from': expected the network, channels and labels of these plans", init_from=str(other))


def test_other_heads_of_the_tasks_model(half_labelled: Make, models: Any) -> None:
    """The new task has other classes; its heads are not used."""
    knobs = models()
    file = Path(knobs["sequential_fine_tuning"]["task_model"])
    content = torch.load(file, weights_only=False)
    heads = {name: tensor[:1] for name, tensor in content["network_weights"].items() if ".seg_layers." in name}
    torch.save(content | {"network_weights": content["network_weights"] | heads}, file)
    trainer = half_labelled(SequentialFineTuningTrainer, "2d", **knobs, num_epochs=1)
    trainer.initialize()
    teachers = trainer.teachers()
    earlier, task = (each.state_dict() for each in (teachers.earlier, teachers.task))
    for name, tensor in task.items():
        head = ".seg_layers." in name
        assert torch.equal(tensor, earlier[name] if head else content["network_weights"][name]), name
    assert not any(each.requires_grad for each in teachers.task.parameters())
    assert not teachers.task.training
