"""ExtTrainer: knobs take effect, and what stock nnU-Net would crash on is refused with one line."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from process_group import process_group
from small_unet import planned_unet

from nnunet_ext.base.checkpoints import read_checkpoint
from nnunet_ext.base.knobs import BLOCK
from nnunet_ext.base.trained_on import KEY
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.base.validated_checkpoint import validated_checkpoint
from nnunet_ext.errors import UserError
from nnunet_ext.methods.ba_net.trainer import BANetTrainer
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.seeding.seeds import Purpose

DATASET = {"labels": {"background": 0, "organ": 1, "wall": 2}, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}


def make_plans(stages: int = 3, **knobs) -> dict:
    strides = [[1, 1, 1], [2, 2, 2], [2, 2, 2]][:stages]
    architecture = planned_unet(strides)
    configuration = {
        "data_identifier": "data",
        "batch_size": 2,
        "patch_size": [8, 8, 8],
        "batch_dice": False,
        "spacing": [1, 1, 1],
        "architecture": architecture,
    }
    plans = {
        "dataset_name": "Dataset001_Unit",
        "plans_name": "UnitPlans",
        "label_manager": "LabelManager",
        "configurations": {"3d_fullres": configuration},
        "continue_training": False,
    }
    return plans | ({BLOCK: knobs} if knobs else {})


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path / name))
    data = tmp_path / "nnUNet_preprocessed/Dataset001_Unit/data"
    data.mkdir(parents=True)
    (data / "case.b2nd").touch()
    return tmp_path


def make(trainer: type[ExtTrainer] = NNUNetBaselineTrainer, *, continued: bool = False, **plans) -> ExtTrainer:
    made = make_plans(**plans) | {"continue_training": continued}
    return trainer(made, "3d_fullres", 0, DATASET, torch.device("cpu"))


def batch(seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 3, (2, 1, 8, 8, 8), generator=generator).to(torch.int16)
    return {
        "data": torch.randn(2, 1, 8, 8, 8, generator=generator),
        "target": [target, target[:, :, ::2, ::2, ::2].clone()],
    }


def test_without_knobs_everything_is_stock():
    trainer = make()
    trainer.initialize()
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (
        1000,
        250,
        50,
    )
    assert type(trainer.optimizer) is torch.optim.SGD
    assert trainer.optimizer.param_groups[0]["lr"] == 1e-2
    assert trainer.optimizer.param_groups[0]["momentum"] == 0.99
    assert trainer.optimizer.param_groups[0]["nesterov"]
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 3e-5


def test_knobs_take_effect():
    trainer = make(
        num_epochs=7,
        num_iterations_per_epoch=3,
        num_val_iterations_per_epoch=2,
        initial_lr=3e-3,
        weight_decay=0.1,
        optimizer="AdamW",
        save_every=4,
    )
    trainer.initialize()
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (7, 3, 2)
    assert trainer.save_every == 4
    assert type(trainer.optimizer) is torch.optim.AdamW
    assert trainer.optimizer.param_groups[0]["lr"] == 3e-3
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 0.1
    trainer.lr_scheduler.step(6)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(3e-3 * (1 / 7) ** 0.9)


def test_plain_sgd_and_steps():
    trainer = make(optimizer="PlainSGD", lr_schedule="steps", weight_decay=1e-4, num_epochs=12)
    trainer.initialize()
    group = trainer.optimizer.param_groups[0]
    assert type(trainer.optimizer) is torch.optim.SGD
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (1e-2, 0.9, False, 1e-4)
    trainer.lr_scheduler.step(2)
    assert group["lr"] == pytest.approx(1e-3)
    assert len(group["params"]) == len(list(trainer.network.parameters()))


def test_stock_optimiser_with_steps():
    trainer = make(lr_schedule="steps", num_epochs=6)
    trainer.initialize()
    trainer.lr_scheduler.step(5)
    assert trainer.optimizer.param_groups[0]["momentum"] == 0.99
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(1e-7)


def test_warm_up():
    trainer = make(warm_up=0.2, num_epochs=10)
    trainer.initialize()
    rates = []
    for epoch in (0, 1, 2):
        trainer.lr_scheduler.step(epoch)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-4, 0.505e-2 * 0.9**0.9, 1e-2 * 0.8**0.9])


class WithRecipe(NNUNetBaselineTrainer):
    """A method whose networks SGD does not train."""

    recipe: ClassVar[dict[str, object]] = {"optimizer": "AdamW", "initial_lr": 2e-4, "weight_decay": 0.1}


def test_a_recipe_counts_where_the_plans_name_no_optimizer(capsys):
    for given, kind, lr, weight_decay in (
        ({}, torch.optim.AdamW, 2e-4, 0.1),
        ({"initial_lr": 1e-3}, torch.optim.AdamW, 1e-3, 0.1),
        ({"optimizer": "SGD"}, torch.optim.SGD, 1e-2, 3e-5),
        ({"optimizer": "AdamW"}, torch.optim.AdamW, 1e-2, 3e-5),
    ):
        trainer = make(WithRecipe, **given)
        trainer.initialize()
        group = trainer.optimizer.param_groups[0]
        assert (type(trainer.optimizer), group["lr"], group["weight_decay"]) == (kind, lr, weight_decay)
        said = "uses its recipe: optimizer=AdamW, initial_lr=" in capsys.readouterr().out
        assert said == ("optimizer" not in given)


def test_a_recipe_with_an_optimizer_that_the_plans_name(monkeypatch, capsys):
    monkeypatch.setattr(WithRecipe, "recipe_with", {"SGD": {"initial_lr": 0.5, "num_epochs": 7}})
    for given, epochs, lr in (
        ({"optimizer": "SGD"}, 7, 0.5),
        ({"optimizer": "SGD", "initial_lr": 1e-3}, 7, 1e-3),
        ({"optimizer": "AdamW"}, 1000, 1e-2),
        ({}, 1000, 2e-4),
    ):
        trainer = make(WithRecipe, **given)
        assert (trainer.num_epochs, trainer.initial_lr) == (epochs, lr)
        said = f"The plans name the optimizer SGD, so WithRecipe uses its recipe: initial_lr={lr}, num_epochs=7"
        assert (said in capsys.readouterr().out) == (given.get("optimizer") == "SGD")
    file = saved_checkpoint(make(WithRecipe, optimizer="SGD"))
    make(WithRecipe, continued=True, optimizer="SGD").load_checkpoint(file)
    with pytest.raises(UserError, match=r"got initial_lr: 0.5 -> 0.1"):
        make(WithRecipe, continued=True, optimizer="SGD", initial_lr=0.1).load_checkpoint(file)


def test_continuing_a_run_from_before_the_recipe_is_refused(monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(WithRecipe, "recipe", {})
        file = saved_checkpoint(make(WithRecipe))
    with pytest.raises(UserError, match=r"got initial_lr: 0.01 -> 0.0002; optimizer: 'SGD' -> 'AdamW'; weight"):
        make(WithRecipe, continued=True).load_checkpoint(file)
    make(WithRecipe, continued=True, optimizer="SGD").load_checkpoint(file)
    make(WithRecipe).load_checkpoint(file)  # to validate


def test_a_seed_repeats_the_weights_and_no_seed_does_not():
    def first_weight(**knobs) -> torch.Tensor:
        trainer = make(BANetTrainer, **knobs)
        trainer.initialize()
        return next(trainer.network.parameters()).detach().clone()

    assert torch.equal(first_weight(seed=3), first_weight(seed=3))
    assert not torch.equal(first_weight(seed=3), first_weight(seed=4))
    assert not torch.equal(first_weight(), first_weight())


@pytest.mark.usefixtures("drawn")
def test_a_training_step_returns_logs_and_draws_the_parts(folders):
    trainer = make(BANetTrainer, ba_net={"boundary_loss_weight": 0.5})
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    trainer.network.train()
    steps = [trainer.train_step(batch(seed)) for seed in (0, 1)]
    for step in steps:
        assert set(step) == {"loss", "segmentation_loss", "boundary_loss"}
        assert step["loss"] == pytest.approx(step["segmentation_loss"] + 0.5 * step["boundary_loss"], abs=1e-6)
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    trainer.on_train_epoch_end(steps)
    mean = np.mean([step["boundary_loss"] for step in steps])
    assert trainer.logger.get_value("boundary_loss", step=-1) == pytest.approx(mean)
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        trainer.on_validation_epoch_end([trainer.validation_step(batch(2))])
    trainer.on_epoch_end()
    assert (Path(trainer.output_folder) / "progress_parts.png").stat().st_size > 1000
    assert trainer.logger.get_checkpoint()["boundary_loss"] == [pytest.approx(mean)]


def test_the_boundary_decoder_learns_and_weight_zero_leaves_its_last_head_to_the_gate():
    trainer = make(BANetTrainer)
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    before = [layer.weight.detach().clone() for layer in trainer.network.boundary_decoder.boundary_layers]
    trainer.network.train()
    trainer.train_step(batch())
    for layer, old in zip(trainer.network.boundary_decoder.boundary_layers, before, strict=True):
        assert not torch.equal(layer.weight, old)


def test_v1_decoder_kernels_reach_the_network_also_without_a_trainer():
    plans = make_plans(ba_net={"v1_decoder_kernels": True})
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["kernel_sizes"] = [[1, 3, 3], [3] * 3, [3] * 3]
    manager = PlansManager(plans)
    network = BANetTrainer.build_network_architecture(manager, manager.get_configuration("3d_fullres"), 1, 3, False)
    assert network.encoder.stages[0][0].convs[0].conv.kernel_size == (1, 3, 3)
    assert network.decoder.stages[-1].convs[0].conv.kernel_size == (3, 3, 3)
    assert network.boundary_decoder.stages[-1].convs[0].conv.kernel_size == (3, 3, 3)


def test_a_single_deep_supervision_scale_is_refused():
    trainer = make(stages=2)
    with pytest.raises(UserError, match=r"configuration '3d_fullres': expected at least 3 network stages, got 2"):
        trainer.initialize()


def test_a_patch_that_stock_cannot_augment_is_refused_before_training(monkeypatch):
    trainer = make()
    trainer.configuration_manager.configuration["patch_size"] = [3, 32, 32]
    monkeypatch.setattr(nnUNetTrainer, "on_train_start", lambda self: pytest.fail("started"))
    with pytest.raises(UserError, match=r"'3d_fullres': expected a patch of at least 4 voxels .* got \[3, 32, 32\]"):
        trainer.on_train_start()


def test_unknown_knobs_are_refused_before_a_folder_is_made(folders):
    with pytest.raises(UserError, match=r"unknown knob 'num_epoch'. Did you mean 'num_epochs'\?"):
        make(num_epoch=3)
    assert not (folders / "nnUNet_results").exists()


def test_a_results_folder_that_cannot_be_written(folders):
    (folders / "nnUNet_results").write_text("a file in its place")
    with pytest.raises(UserError, match=r"expected a results folder that can be written, got .*Set nnUNet_results"):
        make()


def saved_checkpoint(trainer: ExtTrainer) -> str:
    trainer.initialize()
    file = f"{trainer.output_folder}/checkpoint_latest.pth"
    trainer.current_epoch = 1
    trainer.save_checkpoint(file)
    return file


def test_continuing_with_changed_knobs_is_refused():
    file = saved_checkpoint(make(num_epochs=5, save_every=1))
    same = make(continued=True, num_epochs=5, save_every=3)  # how often to save may change
    same.load_checkpoint(file)
    assert same.current_epoch == 2
    with pytest.raises(UserError, match=r"got num_epochs: 5 -> 6; optimizer: 'SGD' -> 'AdamW'\. .*variant --as"):
        make(continued=True, num_epochs=6, optimizer="AdamW").load_checkpoint(file)


def test_validating_with_other_knobs_of_a_method_is_refused_and_with_another_length_is_not():
    file = saved_checkpoint(make(BANetTrainer, num_epochs=5))
    trainer = make(BANetTrainer, num_epochs=6)
    trainer.load_checkpoint(file)
    assert trainer.current_epoch == 2
    with pytest.raises(UserError, match=r"knobs that the run began with, got ba_net.boundary_width: 3 -> 5\."):
        make(BANetTrainer, ba_net={"boundary_width": 5}).load_checkpoint(file)


PLANNED_AGAIN = {
    "normalization": (
        {"normalization_schemes": ["CTNormalization"]},
        "plans: 3d_fullres.normalization_schemes None -> ['CTNormalization']",
    ),
    "patch": ({"patch_size": [8, 8, 16]}, "plans: 3d_fullres.patch_size [8, 8, 8] -> [8, 8, 16]"),
    "network": ({"architecture": planned_unet([[1, 1, 1]] * 4)}, "plans: 3d_fullres.architecture."),
}
OTHER_DATA = {
    "dataset_fingerprint.json": (
        '{"spacings": [[1, 1, 2]]}',
        "another dataset_fingerprint.json: it has been extracted again",
    ),
    "splits_final.json": (
        '[{"train": ["a", "case"], "val": ["b"]}]',
        "other training cases of Dataset001_Unit (splits_final.json: 2 -> 2)",
    ),
}


def refusal_to_load(file: str, plans: dict, dataset: dict = DATASET) -> str:
    """The message, which is the same for --c and --val."""
    texts = []
    for continued in (True, False):
        trainer = NNUNetBaselineTrainer(
            plans | {"continue_training": continued}, "3d_fullres", 0, dataset, torch.device("cpu")
        )
        with pytest.raises(UserError) as caught:
            trainer.load_checkpoint(file)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    start = f"{file}: expected the plans and data that the run began with, got "
    assert texts[0].startswith(start)
    assert "\n" not in texts[0]
    return texts[0].removeprefix(start)


@pytest.mark.parametrize("what", PLANNED_AGAIN)
def test_continuing_after_planning_again(what):
    changed, text = PLANNED_AGAIN[what]
    plans = make_plans()
    plans["configurations"]["3d_fullres"] |= changed
    assert refusal_to_load(saved_checkpoint(make()), plans).startswith(text)


def test_continuing_with_other_labels():
    labels = {"labels": {"background": 0, "wall": 1, "organ": 2}}
    text = refusal_to_load(saved_checkpoint(make()), make_plans(), DATASET | labels)
    assert text.startswith("dataset.json: labels.organ 1 -> 2. Restore them, or train")


@pytest.mark.parametrize("name", OTHER_DATA)
def test_continuing_on_other_data(folders, name):
    base = folders / "nnUNet_preprocessed/Dataset001_Unit"
    for case in ("a", "b"):
        (base / f"data/{case}.b2nd").touch()
    (base / "splits_final.json").write_text('[{"train": ["a", "b"], "val": ["case"]}]')
    (base / "dataset_fingerprint.json").write_text('{"spacings": [[1, 1, 1]]}')
    older, run = make(), make()
    file = saved_checkpoint(older)
    run.my_init_kwargs[KEY] = run.data_record()
    recorded = str(Path(saved_checkpoint(run)).rename(Path(run.output_folder) / "checkpoint_best.pth"))
    assert json.dumps(read_checkpoint(recorded)["init_args"][KEY]).count("case") == 1  # "cases", and no name of one
    make().load_checkpoint(recorded)
    content, text = OTHER_DATA[name]
    (base / name).write_text(content)
    assert refusal_to_load(recorded, make_plans()).startswith(text)
    older.save_checkpoint(file)
    make().load_checkpoint(file)  # an older version recorded no data
    run.load_checkpoint(recorded)  # this process began before the change


def test_what_is_not_trained_with_may_change():
    file = saved_checkpoint(make())
    plans = make_plans() | {"continue_training": True, "original_median_shape_after_transp": [1, 2, 3]}
    plans["configurations"]["2d"] = {"patch_size": [4, 4]}
    plans["configurations"]["3d_fullres"] |= {"data_identifier": "data", "median_image_size_in_voxels": [9, 9, 9]}
    dataset = DATASET | {"numTraining": 9, "labels": dict(reversed(DATASET["labels"].items()))}
    NNUNetBaselineTrainer(plans, "3d_fullres", 0, dataset, torch.device("cpu")).load_checkpoint(file)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_training_that_starts_from_a_checkpoint_writes_what_became_of_each_tensor(monkeypatch, capsys, rank):
    monkeypatch.setattr(nnUNetTrainer, "on_train_start", lambda self: None)
    monkeypatch.setattr(NNUNetBaselineTrainer, "check_preprocessed", lambda self: None)  # there are no data
    monkeypatch.setattr(NNUNetBaselineTrainer, "data_record", lambda self: {})
    source = make()
    file = saved_checkpoint(source)
    labels = {"background": 0, "wall": 1, "vessel": 2, "organ": 3}
    plans = make_plans(init_from=file)
    new = NNUNetBaselineTrainer(plans, "3d_fullres", 0, DATASET | {"labels": labels}, torch.device("cpu"))
    new.initialize()
    folder = Path(new.output_folder)
    capsys.readouterr()
    with process_group(rank, 4) if rank else contextlib.nullcontext():
        new.on_train_start()
    heads = new.network.decoder.seg_layers
    for before, after in zip(source.network.decoder.seg_layers, heads, strict=True):
        assert torch.equal(after.weight[[0, 1, 3]], before.weight[[0, 2, 1]])
    told = f"init_from: {len(new.network.state_dict()) - 4} of {len(new.network.state_dict())} tensors loaded, 4 mapped"
    if rank:
        assert not (folder / "init_from.json").exists()
        return
    assert f"{told} (see the log file and init_from.json)" in capsys.readouterr().out
    log = "".join(each.read_text() for each in folder.glob("training_log*.txt"))
    line = "mapped  decoder.seg_layers.0.bias (4,): rows by name: background, wall, organ; new: vessel"
    assert line in log.splitlines()
    written = json.loads((folder / "init_from.json").read_text())
    assert written["file"] == file
    assert written["counts"]["mapped"] == 4
    assert len(written["tensors"]) == len(new.network.state_dict())


def test_after_a_continued_training_the_best_checkpoint_is_validated_and_not_the_newest(monkeypatch):
    """``--c --val_best``: until the training starts the newest is loaded, afterwards the file that is asked for."""
    monkeypatch.setattr(nnUNetTrainer, "on_train_start", lambda self: None)
    monkeypatch.setattr(NNUNetBaselineTrainer, "check_preprocessed", lambda self: None)  # there are no data
    monkeypatch.setattr(NNUNetBaselineTrainer, "data_record", lambda self: {})
    trainer = make()
    trainer.initialize()
    for name, epoch in (("best", 1), ("latest", 6)):
        trainer.logger.log("epoch_end_timestamps", float(epoch), 0)
        trainer.current_epoch = epoch
        trainer.save_checkpoint(f"{trainer.output_folder}/checkpoint_{name}.pth")
    best = f"{trainer.output_folder}/checkpoint_best.pth"
    continued = make(continued=True)
    continued.load_checkpoint(best)
    assert continued.current_epoch == 7
    continued.on_train_start()
    continued.load_checkpoint(best)
    assert continued.current_epoch == 2


def test_validation_records_its_checkpoint(monkeypatch):
    monkeypatch.setattr(nnUNetTrainer, "on_train_end", lambda self: None)

    def validates(self, save_probabilities):
        Path(self.output_folder, "validation").mkdir(exist_ok=True)

    monkeypatch.setattr(nnUNetTrainer, "perform_actual_validation", validates)
    monkeypatch.setattr(NNUNetBaselineTrainer, "check_preprocessed", lambda self: None)  # there are no data
    trainer = make()
    trainer.initialize()
    best = f"{trainer.output_folder}/checkpoint_best.pth"
    trainer.save_checkpoint(best)
    validation = Path(trainer.output_folder, "validation")
    for act, expected in (
        (lambda: trainer.on_train_end(), "checkpoint_final.pth"),
        (lambda: trainer.load_checkpoint(best), "checkpoint_best.pth"),
        (lambda: trainer.on_train_end(), "checkpoint_final.pth"),
    ):
        act()
        trainer.perform_actual_validation()
        assert validated_checkpoint(validation) == expected


def test_another_trainers_checkpoint_is_refused():
    file = saved_checkpoint(make())
    with pytest.raises(UserError, match="expected a checkpoint of BANetTrainer, found one of NNUNetBaselineTrainer"):
        make(BANetTrainer).load_checkpoint(file)


def test_knobs_lost_by_planning_again_are_reported(capsys):
    trainer = make(num_epochs=5)
    Path(trainer.output_folder_base, "plans.json").write_text(json.dumps(trainer.plans_manager.plans))
    capsys.readouterr()
    make()
    warning = capsys.readouterr().out
    assert "an earlier run in" in warning
    assert "'num_epochs': 5" in warning
    make(num_epochs=5)
    assert "an earlier run in" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["filename_or_checkpoint", "checkpoint"])
def test_a_checkpoint_loads_by_either_name_of_the_argument_and_as_a_dict(tmp_path, name):
    trainer = make()
    trainer.initialize()
    trainer.current_epoch = 3
    trainer.save_checkpoint(str(tmp_path / "kept.pth"))
    for given in (str(tmp_path / "kept.pth"), torch.load(tmp_path / "kept.pth", weights_only=False)):
        other = make()
        other.load_checkpoint(**{name: given})
        assert other.current_epoch == 4
        assert other._starts_from_checkpoint
        for key, tensor in trainer.network.state_dict().items():
            assert torch.equal(other.network.state_dict()[key], tensor), key


def test_a_log_from_before_the_parts_is_filled_up():
    trainer = make(BANetTrainer)
    trainer.initialize()
    older = copy.deepcopy(trainer.logger.get_checkpoint())
    for part in trainer.loss_parts:
        del older[part]
    for name in older:
        older[name] = [0.5, 0.25]
    trainer.logger.load_checkpoint(older)
    trainer.logger.log("boundary_loss", 0.125, 2)
    assert np.array_equal(trainer.logger.get_value("boundary_loss", None), [np.nan, np.nan, 0.125], equal_nan=True)


@pytest.mark.parametrize(
    ("rank", "order"),
    [(None, ["check", "split"]), (0, ["check", "split", "barrier"]), (2, ["barrier", "check", "split"])],
)
def test_the_first_rank_writes_the_split_before_others_read_it(monkeypatch, rank, order):
    happened = []
    monkeypatch.setattr(nnUNetTrainer, "do_split", lambda self: happened.append("split") or (["a"], ["b"]))
    monkeypatch.setattr(torch.distributed, "barrier", lambda: happened.append("barrier"))
    trainer = make()
    monkeypatch.setattr(trainer, "check_fold", lambda: happened.append("check"))
    with contextlib.nullcontext() if rank is None else process_group(rank, 4):
        assert trainer.do_split() == (["a"], ["b"])  # rank 2 has the local rank 0
    assert happened == order


def test_folds_that_do_not_fit_are_refused_before_stock_code_reads_them(folders):
    data = folders / "nnUNet_preprocessed/Dataset001_Unit/data"
    for name in ("a", "b", "c", "case_seg"):  # the last is the label of "case"
        (data / f"{name}.b2nd").touch()
    with pytest.raises(UserError, match=r"splits_final.json: expected folds, or at least 5 .*, found 4 cases and no"):
        make().do_split()
    splits = data.parent / "splits_final.json"
    splits.write_text(json.dumps([{"train": ["a", "b"], "val": ["case"]}]))
    trainer = make()
    with pytest.raises(UserError, match=r"splits_final.json: expected every preprocessed case in a fold, found 'c' in"):
        trainer.do_split()
    (data / "c.b2nd").unlink()
    assert trainer.do_split() == (["a", "b"], ["case"])
    splits.write_text(json.dumps([{"train": ["a"], "val": ["b", "case"]}]))
    assert trainer.do_split() == (["a", "b"], ["case"])  # what it trained on, not what is there at its end


def test_ranks_of_two_nodes_draw_other_random_numbers():
    drawn = []
    for rank in (0, 2):  # both have the local rank 0
        trainer = make(seed=5)
        with process_group(rank, 4):
            trainer.seed(Purpose.WEIGHTS)
        drawn.append((random.random(), np.random.random(), float(torch.rand(()))))
    assert all(one != other for one, other in zip(*drawn, strict=True))


@pytest.mark.parametrize(
    ("ranks", "batch_dice", "expected"),
    [(2, True, None), (2, False, None), (3, True, "a divisor of the plans"), (3, False, "at most the plans")],
)
def test_batches_that_ranks_cannot_share_are_refused(monkeypatch, ranks, batch_dice, expected):
    trainer = make()
    trainer.is_ddp = True
    trainer.configuration_manager.configuration["batch_dice"] = batch_dice
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: ranks)
    if expected is None:
        trainer._check_batch()
        return
    with pytest.raises(
        UserError, match=rf"-num_gpus 3: expected {expected}' batch size 2; .*Use -num_gpus 2"
    ) as caught:
        trainer._check_batch()
    assert ("Dice" in str(caught.value)) is batch_dice


class Drawn(NNUNetBaselineTrainer):
    """Its loaders draw random numbers and no case."""

    def bare_loaders(self):
        class Loader:
            def __next__(self):
                return {"data": torch.cat((torch.rand(2), torch.from_numpy(np.random.rand(2))))}

        return Loader(), Loader()


def drawn(seed: int, *, rank: int = 0, epoch: int = 0, workers: int = 0, number: int = 4) -> torch.Tensor:
    """Training batches, then validation batches."""
    os.environ["nnUNet_n_proc_DA"] = str(workers)
    trainer = make(Drawn, seed=seed, num_iterations_per_epoch=4, num_val_iterations_per_epoch=4)
    trainer.current_epoch = epoch
    found = []
    with process_group(rank, 4):
        pools = trainer.get_dataloaders()
    for pool in pools:
        found += [next(pool)["data"] for _ in range(number)]
        if workers:
            pool._finish()
    return torch.stack(found)


@pytest.fixture
def workers_restored(monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")


@pytest.mark.usefixtures("workers_restored")
def test_seeded_batches_go_on_in_the_current_epoch_with_any_number_of_workers():
    whole = drawn(3, number=12)
    assert len(whole.unique()) == whole.numel()
    for workers in (0, 2):
        later = drawn(3, epoch=2, workers=workers)
        assert torch.equal(later, torch.cat((whole[8:12], whole[20:24])))


@pytest.mark.usefixtures("workers_restored")
def test_seeds_and_ranks_draw_other_batches():
    everything = torch.cat([drawn(seed, rank=rank) for seed in (0, 1) for rank in (0, 1)])
    assert len(everything.unique()) == everything.numel()


def test_an_epochs_noise_depends_on_seed_rank_and_epoch_alone():
    def noise(epoch: int, rank: int = 0, **knobs: int) -> float:
        trainer = make(**knobs)
        trainer.initialize()
        trainer.current_epoch = epoch
        torch.rand(epoch + 1)
        with process_group(rank, 4):
            trainer.on_train_epoch_start()
        return float(torch.rand(1))

    assert noise(2, seed=3) == noise(2, seed=3)
    assert len({noise(1, seed=3), noise(2, seed=3), noise(2, 1, seed=3), noise(2, seed=4), noise(2), noise(2)}) == 6
