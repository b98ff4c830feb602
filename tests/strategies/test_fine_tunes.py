"""Strategies on a small trainer: what is frozen stays, what trains resumes, and stock nnU-Net loads the result."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from small_unet import planned_unet
from torch import distributed, nn

from nnunet_ext.base.knobs import BLOCK
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.errors import UserError
from nnunet_ext.methods.ba_net.trainer import BANetTrainer
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.networks.lora import lora_state
from nnunet_ext.networks.parts import part_of
from nnunet_ext.strategies.fine_tunes import FineTunes
from nnunet_ext.strategies.group_rates import GroupRates

STRATEGIES = ("all", "head_first", "frozen_encoder", "layer_wise", "lora")
OPTIMIZERS = ("SGD", "PlainSGD", "AdamW")
DATASET = {"labels": {"background": 0, "organ": 1, "wall": 2}, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path / name))
    data = tmp_path / "nnUNet_preprocessed/Dataset001_Unit/data"
    data.mkdir(parents=True)
    (data / "case.b2nd").touch()
    monkeypatch.setattr(ExtTrainer, "data_record", lambda _: None)
    monkeypatch.setattr(NNUNetBaselineTrainer, "check_trained_on", lambda *_: None)


def built(
    strategy: str | None,
    trainer: type[nnUNetTrainer] = NNUNetBaselineTrainer,
    norm: str = "InstanceNorm3d",
    fine_tune: dict[str, Any] | None = None,
    **knobs: Any,
) -> Any:
    torch.manual_seed(0)
    architecture = planned_unet()
    if norm != "InstanceNorm3d":
        architecture["arch_kwargs"]["norm_op"] = f"torch.nn.{norm}"
    configuration = {
        "data_identifier": "data",
        "batch_size": 2,
        "patch_size": [8, 8, 8],
        "batch_dice": False,
        "spacing": [1, 1, 1],
        "architecture": architecture,
    }
    block = {"num_epochs": 10, "fine_tune": {"strategy": strategy} | (fine_tune or {})} | knobs
    plans = {
        "dataset_name": "Dataset001_Unit",
        "plans_name": "UnitPlans",
        "label_manager": "LabelManager",
        "configurations": {"3d_fullres": configuration},
        "continue_training": False,
        BLOCK: block,
    }
    return trainer(plans, "3d_fullres", 0, DATASET, torch.device("cpu"))


def make(*arguments: Any, **knobs: Any) -> Any:
    """A trainer that is ready for a step."""
    made = built(*arguments, **knobs)
    made.initialize()
    if hasattr(made.loss, "weight_factors"):
        made.loss.weight_factors = [1.0, 1.0]  # stock leaves the last scale out, and its head without gradient
    return made


def batch(seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 3, (2, 1, 8, 8, 8), generator=generator).to(torch.int16)
    image = torch.randn(2, 1, 8, 8, 8, generator=generator)
    return {"data": image, "target": [target, target[:, :, ::2, ::2, ::2].clone()]}


def train(trainer: Any, *epochs: int) -> None:
    """One step for each epoch."""
    for epoch in epochs:
        trainer.current_epoch = epoch
        trainer.on_train_epoch_start()
        trainer.train_step(batch(epoch))


def parameters(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def frozen_by(strategy: str, lora_norms: bool = True) -> Callable[[str], bool]:
    def is_frozen(name: str) -> bool:
        part = part_of(name)
        if strategy == "frozen_encoder":
            return part == "encoder"
        if strategy == "head_first":
            return part != "head"
        adapted = name.endswith(("weight.0.a", "weight.0.b")) or (lora_norms and ".norm." in name)
        return part != "head" and not adapted

    return is_frozen


def log_of(trainer: Any) -> str:
    return Path(trainer.log_file).read_text()


def test_without_a_strategy_everything_is_stock():
    for strategy in (None, "all"):
        trainer = make(strategy)
        stock = nnUNetTrainer.configure_optimizers(trainer)[0]
        assert type(trainer.optimizer) is type(stock)
        assert trainer.optimizer.state_dict() == stock.state_dict()
        assert [len(group["params"]) for group in trainer.optimizer.param_groups] == [
            len([*trainer.network.parameters()])
        ]
        assert all(parameter.requires_grad for parameter in trainer.network.parameters())
        assert not isinstance(trainer.lr_scheduler, GroupRates)
        assert trainer.extra_state() == {}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("strategy", ["head_first", "frozen_encoder", "lora"])
def test_frozen_means_frozen(strategy, optimizer):
    """Bitwise, over five steps with momentum and a large weight decay; everything else moves."""
    knobs = {"optimizer": optimizer, "weight_decay": 0.1, "initial_lr": 0.05}
    trainer = make(strategy, fine_tune={"head_epochs": 0.5}, **knobs)
    before = parameters(trainer.network)
    train(trainer, *range(5))
    after = parameters(trainer.network)
    is_frozen = frozen_by(strategy)
    assert {is_frozen(name) for name in before} == {True, False}
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor) == is_frozen(name), name
    held = {
        id(each)
        for group in trainer.optimizer.param_groups
        for each in group["params"]
        if each in trainer.optimizer.state
    }
    for name, parameter in trainer.network.named_parameters():
        assert (id(parameter) in held) == (not is_frozen(name)), name


def test_lora_without_norms_and_in_one_part():
    trainer = make("lora", fine_tune={"lora_norms": False, "lora_layers": "decoder", "lora_rank": 2, "lora_alpha": 6})
    assert {part_of(name) for name in lora_state(trainer.network)} == {"decoder"}
    assert {module.scale for module in trainer.network.modules() if hasattr(module, "scale")} == {3.0}
    assert {state["a"].shape[0] for state in lora_state(trainer.network).values()} == {2}
    before = parameters(trainer.network)
    train(trainer, 0, 1)
    is_frozen = frozen_by("lora", lora_norms=False)
    for name, tensor in parameters(trainer.network).items():
        assert torch.equal(tensor, before[name]) == is_frozen(name), name


def test_head_first_then_all():
    """The heads alone in 20 % of ten epochs; then all, whose momentum starts there."""
    trainer = make("head_first", fine_tune={"head_epochs": 0.2})
    assert trainer.head_epochs == 2
    heads_alone = sum(each.numel() for name, each in trainer.network.named_parameters() if part_of(name) == "head")
    assert f"Heads first: {heads_alone} of 5,566 parameters train until epoch 2, then all" in log_of(trainer)
    before = parameters(trainer.network)
    train(trainer, 0, 1)
    heads = parameters(trainer.network)
    assert [torch.equal(heads[name], before[name]) for name in before] == [part_of(name) != "head" for name in before]
    train(trainer, 2)
    after = parameters(trainer.network)
    assert not any(torch.equal(after[name], heads[name]) for name in before if not name.endswith("conv.bias"))
    rest = trainer.network.encoder.stages[0][0].convs[0].conv.weight
    expected = rest.grad + trainer.weight_decay * heads["encoder.stages.0.0.convs.0.conv.weight"]
    torch.testing.assert_close(trainer.optimizer.state[rest]["momentum_buffer"], expected)


@pytest.mark.parametrize(
    ("strategy", "factors"), [("head_first", [0.01, 0.505, 1, 0.01, 0.505, 1]), ("all", [0.01, 0.505, 1, 1, 1, 1])]
)
def test_what_head_first_releases_warms_up(strategy, factors, tmp_path):
    """Also in a training that is resumed in the second warm-up."""
    knobs = {"warm_up": 0.2, "initial_lr": 0.5, "fine_tune": {"head_epochs": 0.3}}
    trainer = make(strategy, **knobs)
    train(trainer, *range(4))
    file = tmp_path / "checkpoint.pth"
    trainer.logger.log("epoch_end_timestamps", 0, 0)
    trainer.save_checkpoint(str(file))
    resumed = make(strategy, **knobs)
    resumed.load_checkpoint(str(file))
    train(resumed, 4, 5)
    rates = resumed.logger.get_value("lrs", step=None)
    assert rates == pytest.approx([0.5 * factor * (1 - epoch / 10) ** 0.9 for epoch, factor in enumerate(factors)])


@pytest.mark.parametrize(("share", "epochs", "expected"), [(0.1, 100, 10), (0.001, 100, 1), (0.99, 3, 2), (0.5, 1, 1)])
def test_head_epochs(share, epochs, expected):
    assert make("head_first", fine_tune={"head_epochs": share}, num_epochs=epochs).head_epochs == expected


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_layer_wise_rates(optimizer):
    """Three stages: heads, decoder 1 and 2, encoder 3 to 5."""
    trainer = make("layer_wise", fine_tune={"layer_decay": 0.5}, optimizer=optimizer, initial_lr=0.08, warm_up=0.2)
    names = {id(parameter): name for name, parameter in trainer.network.named_parameters()}
    groups = [[names[id(each)] for each in group["params"]] for group in trainer.optimizer.param_groups]
    assert sorted(name for group in groups for name in group) == sorted(names.values())
    assert all(part_of(name) == "head" for name in groups[0])
    assert "encoder.stages.0.0.convs.0.conv.weight" in groups[-1]
    train(trainer, 0, 5)
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    assert rates == pytest.approx([0.08 * 0.5**0.9 * 0.5**level for level in range(6)])
    assert trainer.logger.get_value("lrs", step=None)[-1] == rates[0]
    settings = [
        {key: value for key, value in group.items() if key not in ("params", "lr", "lr_factor", "initial_lr")}
        for group in trainer.optimizer.param_groups
    ]
    stock = make(None, optimizer=optimizer).optimizer.param_groups[0]
    assert all(each == {key: stock[key] for key in each} for each in settings)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_resumed_training_goes_on_exactly(strategy, optimizer, tmp_path):
    """Across the epoch at which head_first releases the rest, too."""
    knobs = {"optimizer": optimizer, "weight_decay": 0.01, "fine_tune": {"head_epochs": 0.3}}
    whole, broken = make(strategy, **knobs), make(strategy, **knobs)
    for trainer in (whole, broken):
        train(trainer, 0, 1)
    train(whole, 2, 3, 4)
    for cut, further in ((1, (2, 3, 4)), (3, (4,))):
        train(broken, *range(2, cut + 1))
        file = tmp_path / f"{cut}.pth"
        broken.logger.log("epoch_end_timestamps", 0, 0)
        broken.save_checkpoint(str(file))
        continued = make(strategy, **knobs)
        continued.load_checkpoint(str(file))
        assert continued.current_epoch == cut + 1
        train(continued, *further)
        expected = parameters(whole.network)
        for name, tensor in parameters(continued.network).items():
            assert torch.equal(tensor, expected[name]), name
        for one, same in zip(*([*each.network.state_dict().values()] for each in (whole, continued)), strict=True):
            assert torch.equal(one, same)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_stock_loads_the_checkpoint(strategy, tmp_path):
    trainer = make(strategy, initial_lr=0.05)
    train(trainer, 0, 1, 2)
    file = tmp_path / "checkpoint.pth"
    trainer.save_checkpoint(str(file))
    checkpoint = torch.load(file, weights_only=False)
    torch.save(checkpoint | {"trainer_name": "nnUNetTrainer"}, file)
    stock = nnUNetTrainer(
        checkpoint["init_args"]["plans"] | {"continue_training": False}, "3d_fullres", 0, DATASET, torch.device("cpu")
    )
    stock.load_checkpoint(str(file))
    assert list(stock.network.state_dict()) == list(checkpoint["network_weights"])
    trainer.network.eval()
    stock.network.eval()
    with torch.no_grad():
        for one, other in zip(trainer.network(batch()["data"]), stock.network(batch()["data"]), strict=True):
            assert (one - other).abs().max() < 1e-5
    changed = make(strategy)
    assert not torch.equal(changed.network(batch()["data"])[0], trainer.network(batch()["data"])[0])


def test_lora_says_its_share_and_is_put_on_once():
    trainer = make("lora", fine_tune={"lora_rank": 1})
    trained = sum(each.numel() for each in trainer.network.parameters() if each.requires_grad)
    whole = sum(each.numel() for each in make(None).network.parameters())
    assert f"LoRA: {trained:,} of {whole:,} parameters train" in log_of(trainer)
    before = parameters(trainer.network)
    trainer.configure_optimizers()  # as pseudo-labels does
    assert parameters(trainer.network).keys() == before.keys()
    assert trained == sum(each.numel() for group in trainer.optimizer.param_groups for each in group["params"])


def test_a_second_optimizer_of_head_first_has_all(monkeypatch):
    trainer = make("head_first")
    optimizer, _ = trainer.configure_optimizers()
    assert len(optimizer.param_groups[0]["params"]) == len([*trainer.network.parameters()])
    train(trainer, 5)
    assert all(parameter.requires_grad for parameter in trainer.network.parameters())


def test_a_second_optimizer_lets_ddp_know_what_is_released(monkeypatch):
    """Resumed at the epoch in which pseudo-labels begin: DDP wrapped the network while the rest was frozen."""

    class Wrapped(nn.Module):
        def __init__(self, module: nn.Module, device_ids: Any = None) -> None:
            super().__init__()
            self.module, self.device_ids = module, device_ids
            self.known = {id(each) for each in module.parameters() if each.requires_grad}

    monkeypatch.setattr("nnunet_ext.strategies.fine_tunes.DistributedDataParallel", Wrapped)
    trainer = make("head_first", fine_tune={"head_epochs": 0.2})
    wrapped = trainer.network = Wrapped(trainer.network)
    trainer.current_epoch = 1
    trainer.configure_optimizers()
    assert trainer.network is wrapped  # the same parts train
    trainer.current_epoch = 5
    trainer.configure_optimizers()
    assert trainer.network.known == {id(each) for each in trainer.network.parameters()}
    again = trainer.network
    trainer.configure_optimizers()
    assert trainer.network is again


def test_what_a_method_adds_trains_and_what_it_froze_stays_frozen():
    trainer = make("frozen_encoder", BANetTrainer)
    names = [name for name, parameter in trainer.network.named_parameters() if parameter.requires_grad]
    assert any(name.startswith("boundary_decoder.") for name in names)
    assert not any(part_of(name) == "encoder" for name in names)

    class Froze(NNUNetBaselineTrainer):
        @classmethod
        def network_on(cls, unet: Any, knobs: Any) -> nn.Module:
            unet.decoder.seg_layers[0].requires_grad_(False)
            return unet

    for strategy in ("head_first", "frozen_encoder", "layer_wise", "lora"):
        Froze.method = "baseline"
        trainer = make(strategy, Froze)
        kept = [*trainer.network.decoder.seg_layers[0].parameters()]
        in_optimizer = {id(each) for group in trainer.optimizer.param_groups for each in group["params"]}
        if strategy == "head_first":
            trainer._hold(False)
        else:
            assert not in_optimizer & {id(each) for each in kept}
        assert not any(each.requires_grad for each in kept)


@pytest.mark.parametrize("strategy", ["frozen_encoder", "lora", "head_first", "layer_wise"])
def test_frozen_batch_norm_keeps_its_statistics(strategy):
    """Of layers that train, they follow; in LoRA, normalizations train."""
    trainer = make(strategy, norm="BatchNorm3d", fine_tune={"head_epochs": 0.5, "lora_norms": True})
    before = copy.deepcopy(dict(trainer.network.named_buffers()))
    train(trainer, 0, 1)
    still = {name for name, value in trainer.network.named_buffers() if torch.equal(value, before[name])}
    frozen = {"frozen_encoder": ("encoder",), "head_first": ("encoder", "decoder")}.get(strategy, ())
    assert still == {name for name in before if part_of(name) in frozen}
    trainer = make("lora", norm="BatchNorm3d", fine_tune={"lora_norms": False})
    before = copy.deepcopy(dict(trainer.network.named_buffers()))
    train(trainer, 0)
    assert all(torch.equal(value, before[name]) for name, value in trainer.network.named_buffers())


def test_sources_that_leave_frozen_layers_random():
    names = [
        "decoder.stages.0.convs.0.conv.weight",
        "decoder.seg_layers.0.weight",
        "encoder.stages.0.0.convs.0.conv.bias",
    ]
    make("all").check_frozen([*names, "encoder.stages.0.0.convs.0.conv.weight"])
    make("frozen_encoder").check_frozen(names)
    expected = "'frozen_encoder' expects that init_from fills what stays frozen, but 1 tensors keep their random start"
    with pytest.raises(UserError, match=expected):
        make("frozen_encoder").check_frozen([*names, "encoder.stages.0.0.convs.0.conv.weight"])
    with pytest.raises(UserError, match=re.escape("the first is 'decoder.stages.0.convs.0.conv.weight'")):
        make("lora").check_frozen(names)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_model_to_start_from(strategy):
    with pytest.raises(
        UserError, match=f"expected a trained model to start from .*is '{strategy}'.* Set the knob init_from"
    ):
        FineTunes.on_train_start(make(strategy))


RENEWED = "head_first again"


def rank(out: Path, number: int) -> None:
    """What one of two processes does: steps on its own batches, in every strategy."""
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as stock_module

    torch.set_num_threads(1)
    wrap = stock_module.DDP
    stock_module.DDP = lambda network, device_ids: wrap(network)
    trainers = {
        strategy: built(strategy.removesuffix(" again"), fine_tune={"head_epochs": 0.2})
        for strategy in (*STRATEGIES, RENEWED)
    }
    distributed.init_process_group("gloo", init_method=f"file://{out / 'store'}", rank=number, world_size=2)
    for strategy, trainer in trainers.items():
        renewed = strategy == RENEWED
        trainer.is_ddp, trainer.local_rank = True, number
        trainer._set_batch_size_and_oversample = lambda: None
        torch.manual_seed(number)  # DDP takes the first rank's weights, LoRA's factors too
        trainer.initialize()
        trainer.loss.loss.dc.ddp = False
        for epoch in (0, 1, 2, 3):
            trainer.current_epoch = epoch
            if renewed and epoch == 2:  # as pseudo-labels do when they begin
                trainer.optimizer, trainer.lr_scheduler = trainer.configure_optimizers()
            trainer.on_train_epoch_start()
            trainer.train_step(batch(10 * epoch + number))
        torch.save(parameters(trainer.bare_network), out / f"{strategy}{number}.pth")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_stay_equal(tmp_path):
    """Also after head_first has released what DDP did not know of."""
    code = f"import runpy; runpy.run_path({__file__!r})['rank'](__import__('pathlib').Path({str(tmp_path)!r}), {{}})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [subprocess.Popen([sys.executable, "-c", code.format(number)], env=environment) for number in (0, 1)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    for strategy in (*STRATEGIES, RENEWED):
        first, second = (torch.load(tmp_path / f"{strategy}{number}.pth") for number in (0, 1))
        for name, tensor in first.items():
            assert torch.equal(tensor, second[name]), (strategy, name)
        start = make(strategy.removesuffix(" again"))
        moved = [name for name, tensor in parameters(start.network).items() if not torch.equal(tensor, first[name])]
        assert len(moved) > 3
