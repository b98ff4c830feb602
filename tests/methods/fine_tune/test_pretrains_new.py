"""New parameters that train without labels first: what is trained on what, and that nothing else moves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_training import train_until_killed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.base.checkpoints import EXTRA
from nnunet_ext.errors import UserError
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.methods.fine_tune.trainer import FineTuneTrainer
from nnunet_ext.networks.lora import is_factor, lora_state
from nnunet_ext.networks.parts import part_of

Make = Callable[..., Any]
HERE = Path(__file__)
LENGTH = {"num_epochs": 4, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1, "seed": 0}
HALF = {"pretrain_new": True, "pretrain_share": 0.5}
STRATEGIES = {"lora": {"strategy": "lora"}, "frozen_encoder": {"strategy": "frozen_encoder", "transfer": "encoder"}}


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)
    monkeypatch.setattr(nnUNetTrainer, "plot_network_architecture", lambda _: None)


@pytest.fixture
def source(half_labelled: Make, tmp_path: Path) -> str:
    """The checkpoint of a stock training that has not begun."""
    trainer = half_labelled(nnUNetTrainer, "2d", run="source")
    trainer.initialize()
    file = tmp_path / "source.pth"
    trainer.save_checkpoint(str(file))
    return str(file)


@pytest.fixture
def make(half_labelled: Make, source: str) -> Make:
    """Make a trainer with a strategy and further knobs of fine-tuning."""

    def made(kind: str, run: str = "results", *, continued: bool = False, **changes: Any) -> Any:
        general = {key: changes.pop(key) for key in ("num_epochs", "optimizer", "seed") if key in changes}
        knobs = LENGTH | general | {"init_from": source, "fine_tune": STRATEGIES[kind] | HALF | changes}
        return half_labelled(FineTuneTrainer, "2d", run=run, continued=continued, **knobs)

    return made


def fold(trainer: Any) -> Path:
    return Path(trainer.output_folder)


def log_of(trainer: Any) -> str:
    return "\n".join(file.read_text() for file in sorted(fold(trainer).glob("training_log_*.txt")))


def parameters(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: each.detach().clone() for name, each in trainer.bare_network.named_parameters()}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def epoch(trainer: Any, number: int) -> None:
    """The steps of an epoch, as ``run_training`` takes them."""
    trainer.current_epoch = number
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    trainer.on_train_epoch_end([trainer.train_step(next(trainer.dataloader_train)) for _ in range(2)])


@pytest.mark.parametrize(
    ("strategy", "optimizer"),
    [("lora", "SGD"), ("lora", "AdamW"), ("frozen_encoder", "SGD"), ("frozen_encoder", "AdamW")],
)
def test_only_what_is_new_trains_first(make: Make, strategy: str, optimizer: str) -> None:
    """With momentum and weight decay, frozen weights and heads stay bit for bit; then heads train, too."""
    trainer = make(strategy, optimizer=optimizer)
    trainer.on_train_start()
    start = parameters(trainer)
    for number in (0, 1):
        epoch(trainer, number)
    first = moved(start, parameters(trainer))
    is_new = is_factor if strategy == "lora" else lambda name: part_of(name) == "decoder"
    assert {name for name in first if not is_new(name)} == set()
    assert len(first) > 0.6 * sum(map(is_new, start))  # a bias before a normalization stands still
    assert not trainer.optimizer.state  # that of the labels has not begun
    assert trainer._pretext is not None
    assert trainer._pretext._idle  # the heads of the labels
    assert not any(each.grad is not None for each in trainer._pretext._idle)

    then = parameters(trainer)
    epoch(trainer, 2)
    second = moved(then, parameters(trainer))
    assert any(".seg_layers." in name for name in second)
    assert first - second <= {name for name in first if name.endswith("bias")}
    frozen = [
        name
        for name in start
        if (part_of(name) == "encoder" if strategy == "frozen_encoder" else name.endswith("weight.original"))
    ]
    assert frozen
    assert not set(frozen) & second
    assert trainer._pretext is None


def test_the_loss_is_of_images_alone(make: Make) -> None:
    """Training images and imagesUn are restored, no validation image; labels reach no step."""
    trainer = make("lora")
    trainer.on_train_start()
    train, val = trainer.do_split()
    images = trainer._pretext_images.identifiers
    assert images == sorted([*train, "unlabelled_000", "unlabelled_001", "unlabelled_002"])
    assert not set(images) & set(val)
    batch = next(trainer.dataloader_train)
    assert set(batch["target"].unique().tolist()) <= {-1, 0}
    epoch(trainer, 0)
    told = log_of(trainer)
    assert f"of {len(images)} images in 2 of 4 epochs; the other 2 train on the labels" in told
    assert "Restored: masked error" in told
    trainer.current_epoch = 2
    trainer.on_epoch_start()
    assert max(int(scale.max()) for scale in next(trainer.dataloader_train)["target"]) > 0


def test_hidden_voxels_are_not_seen_and_alone_count(make: Make) -> None:
    trainer = make("lora")
    trainer.on_train_start()
    batch, inputs = next(trainer.dataloader_train), []
    trainer.bare_network.register_forward_pre_hook(lambda _, given: inputs.append(given[0].clone()))
    shape = (len(batch["data"]), 1, *batch["data"].shape[2:])
    hidden = (torch.arange(shape[-1]) % 3 == 0).expand(shape)
    other = torch.where(hidden, 1e3 * torch.randn_like(batch["data"]), batch["data"])
    losses = [trainer.train_step(batch | {"data": data, "hidden": hidden})["loss"] for data in (batch["data"], other)]
    assert torch.equal(*inputs)
    assert not inputs[0][hidden].any()
    assert losses[1] > 1e4 * losses[0]


def test_without_unlabelled_images(make: Make, tmp_path: Path) -> None:
    trainer = make("lora")
    place = Path(trainer.preprocessed_dataset_folder_base)
    shutil.rmtree(tmp_path / "plain/raw" / place.name / "imagesUn")
    for folder in place.glob("*_unlabelled"):
        shutil.rmtree(folder)
    trainer.on_train_start()
    assert trainer._pretext_images.identifiers == sorted(trainer.do_split()[0])


def test_rates_start_again(make: Make) -> None:
    trainer = make("lora", num_epochs=40, optimizer="AdamW")
    assert trainer.pretext_epochs == 20
    trainer.on_train_start()
    rates = {}
    for number in (0, 1, 2, 19, 20, 21, 39):
        trainer.current_epoch = number
        trainer.lr_scheduler.step(number)
        rates[number] = trainer.optimizer.param_groups[0]["lr"]
        if number < 20:
            trainer._pretext.schedule.step(number)
            assert trainer._pretext.optimizer.param_groups[0]["lr"] == rates[number]
    assert rates[0] == rates[20] == pytest.approx(1e-6)  # a warm-up of two epochs in each part
    assert rates[1] == rates[21]
    assert rates[19] == rates[39] < rates[2]


@pytest.mark.parametrize(("share", "epochs", "found"), [(0.15, 150, 22), (0.15, 2, 1), (0.99, 10, 9), (0.5, 4, 2)])
def test_epochs_without_labels(make: Make, share: float, epochs: int, found: int) -> None:
    assert make("lora", pretrain_share=share, num_epochs=epochs).pretext_epochs == found


@pytest.mark.parametrize(("strategy", "killed_after"), [("lora", 1), ("frozen_encoder", 2), ("lora", 3)])
def test_killed_and_continued(make: Make, strategy: str, killed_after: int) -> None:
    """Inside, at the end of and after the epochs without labels: weights and losses are those of a whole training."""
    whole = make(strategy, "whole")
    whole.run_training()
    killed = make(strategy, "killed")
    train_until_killed(killed, killed_after)
    continued = make(strategy, "killed", continued=True)
    continued.load_checkpoint(str(fold(continued) / "checkpoint_latest.pth"))
    assert continued.current_epoch == killed_after
    continued.run_training()
    one, other = (
        torch.load(fold(each) / "checkpoint_final.pth", weights_only=False, map_location="cpu")
        for each in (whole, continued)
    )
    assert moved(one["network_weights"], other["network_weights"]) == set()
    assert one["network_weights"].keys() == other["network_weights"].keys()
    for key in ("train_losses", "val_losses", "ema_fg_dice", "lrs"):
        assert one["logging"][key] == other["logging"][key]
    assert "pretext" not in one[EXTRA]
    if strategy == "lora":
        assert all(torch.equal(*pair) for pair in _factors(whole, continued))


def _factors(one: Any, other: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    states = lora_state(one.bare_network), lora_state(other.bare_network)
    return [(layer["b"], states[1][name]["b"]) for name, layer in states[0].items()]


def test_without_the_knob_nothing_changes(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights and losses as of a trainer that does not know it."""
    found = []
    for kind in (FineTuneTrainer, type("FineTuneTrainer", (FineTuneTrainer,), _as_before())):
        monkeypatch.setattr(f"{__name__}.FineTuneTrainer", kind)
        trainer = make("lora", kind.__module__ + str(len(found)), num_epochs=2, pretrain_new=False)
        assert trainer.pretext_epochs == 0
        trainer.run_training()
        found.append(torch.load(fold(trainer) / "checkpoint_final.pth", weights_only=False, map_location="cpu"))
    assert moved(found[0]["network_weights"], found[1]["network_weights"]) == set()
    for key in ("train_losses", "val_losses", "lrs"):
        assert found[0]["logging"][key] == found[1]["logging"][key]


def _as_before() -> dict[str, Any]:
    """What the class between this trainer and ours overrides, as ours has it."""
    from nnunet_ext.base.trainer import ExtTrainer
    from nnunet_ext.methods.fine_tune.pretrains_new import PretrainsNew

    names = ("initialize", "configure_optimizers", "get_dataloaders", "on_epoch_start", "on_train_epoch_start")
    names += ("train_step", "on_train_epoch_end")
    assert all(name in vars(PretrainsNew) for name in names)
    return {name: getattr(ExtTrainer, name) for name in names}


@pytest.mark.parametrize(
    ("strategy", "changes", "text"),
    [
        ("lora", {"strategy": "all"}, "expected the strategy 'lora' or 'frozen_encoder'"),
        ("lora", {"strategy": "head_first"}, "got 'head_first'"),
        ("lora", {"strategy": None}, "got 'all'"),
        ("lora", {"strategy": "layer_wise"}, "got 'layer_wise'"),
        ("lora", {"num_epochs": 1}, "expected at least 2 epochs, got 1"),
        ("frozen_encoder", {"transfer": "all"}, "expected a decoder that init_from leaves at its random start"),
    ],
)
def test_refused(make: Make, strategy: str, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        make(strategy, **changes).on_train_start()
    assert "\n" not in str(caught.value)


def test_a_second_stage_and_a_network_without_heads_are_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make("lora")
    trainer.is_cascaded = True
    with pytest.raises(UserError, match=r"pretrain_new: expected a configuration of one stage, got '2d'"):
        trainer.initialize()
    other = staticmethod(lambda *_: torch.nn.Conv2d(1, 1, 1))
    monkeypatch.setattr(nnUNetTrainer, "build_network_architecture", other)
    with pytest.raises(UserError, match=r"expected a network with decoder.seg_layers, found Conv2d. Set it to false"):
        make("frozen_encoder").initialize()
    with pytest.raises(UserError, match=r"'lora': expected a convolution in encoder, decoder, found none. Take anoth"):
        make("lora").initialize()


def test_other_trainers_do_not_know_it(half_labelled: Make, source: str) -> None:
    knobs = LENGTH | {"init_from": source, "fine_tune": STRATEGIES["lora"] | HALF}
    with pytest.raises(UserError, match="expected FineTuneTrainer, which trains new parameters without labels first"):
        half_labelled(NNUNetBaselineTrainer, "2d", **knobs).on_train_start()


def test_a_validation_case_among_the_unlabelled(make: Make, tmp_path: Path) -> None:
    trainer = make("lora")
    raw = tmp_path / "plain/raw" / Path(trainer.preprocessed_dataset_folder_base).name
    image = raw / "imagesUn/unlabelled_000_0000.nii.gz"
    image.unlink()
    image.symlink_to(raw / f"imagesTr/{trainer.do_split()[1][0]}_0000.nii.gz")
    (raw / "dataset.json").unlink()  # as where only the images are at hand
    with pytest.raises(UserError, match="expected no validation case among the unlabelled images"):
        trainer.on_train_start()


def rank(out: Path, number: int) -> None:
    """What one of two processes does; its findings go into a file."""
    import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as stock
    from torch import distributed

    wrap = stock.DDP
    stock.DDP = lambda network, device_ids: wrap(network)
    trainer = FineTuneTrainer(*json.loads((out / "given.json").read_text()), torch.device("cpu"))
    distributed.init_process_group("gloo", init_method=f"file://{out / 'store'}", rank=number, world_size=2)
    trainer.is_ddp, trainer.local_rank = True, number
    trainer.run_training()
    losses = trainer.logger.get_value("train_losses", step=None)
    torch.save({"losses": losses, "network": trainer.bare_network.state_dict()}, out / f"rank{number}.pth")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_ranks(make: Make, tmp_path: Path, strategy: str) -> None:
    """They keep one network in both parts."""
    trainer = make(strategy)
    plans = trainer.plans_manager.plans | {"continue_training": False}
    (tmp_path / "given.json").write_text(json.dumps([plans, "2d", 0, trainer.dataset_json]))
    code = f"import runpy; runpy.run_path({str(HERE)!r})['rank'](__import__('pathlib').Path({str(tmp_path)!r}), {{}})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # with the tests' helpers
    processes = [subprocess.Popen([sys.executable, "-c", code.format(number)], env=environment) for number in (0, 1)]
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"rank{number}.pth", weights_only=False) for number in (0, 1))
    assert first["losses"] == second["losses"]
    assert moved(first["network"], second["network"]) == set()
