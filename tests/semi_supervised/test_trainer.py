"""What all semi-supervised trainers do, on a trainer whose loss is stock nnU-Net's on the labelled samples."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from process_group import process_group
from torch import Tensor, nn

from nnunet_ext.errors import UserError
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.methods.bcp.trainer import BCPTrainer
from nnunet_ext.methods.pseudo_label.trainer import PseudoLabelTrainer
from nnunet_ext.semi_supervised.losses import AnnotatedOnly, split_output
from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer

Make = Callable[..., Any]


class LabelledLoss(nn.Module):
    """Forgets the unlabelled samples."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.unlabelled = 0

    def forward(self, output: Any, target: Any) -> Tensor:
        labelled, unlabelled = split_output(output, target)
        self.unlabelled += len(unlabelled[0])
        return self.loss(labelled, target)


class IdleTrainer(SemiSupervisedTrainer):
    def _build_loss(self) -> LabelledLoss:
        return LabelledLoss(super()._build_loss())


def preprocessed(trainer: Any) -> Path:
    return Path(trainer.preprocessed_dataset_folder_base)


def batches(trainer: Any, number: int, which: int = 0) -> list[dict[str, Any]]:
    pool = trainer.get_dataloaders()[which]
    try:
        return [next(pool) for _ in range(number)]
    finally:
        if hasattr(pool, "_finish"):
            pool._finish()


def assert_equal(one: Any, other: Any) -> None:
    """Two batches are the same, bit for bit."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            value, other[name], rtol=0, atol=0
        ) if name != "keys" else np.testing.assert_array_equal(value, other[name])


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("labels", ["plain", "regions ignore"])
def test_a_batch(half_labelled: Make, labels: str, configuration: str):
    trainer = half_labelled(IdleTrainer, configuration, labels=labels, unlabelled={"batch_size": 3})
    trainer.initialize()
    (batch,) = batches(trainer, 1)
    assert sorted(batch) == ["data", "keys", "step", "target", "unlabelled"]
    patch = tuple(trainer.configuration_manager.patch_size)
    size = trainer.configuration_manager.batch_size
    assert batch["data"].shape == (size, 1, *patch)
    assert batch["unlabelled"].shape == (3, 1, *patch)
    assert batch["unlabelled"].dtype == torch.float32
    assert batch["step"] == 0
    assert "unlabelled" not in batches(trainer, 1, which=1)[0]


def test_only_unlabelled_cases_are_drawn_and_all_of_them(half_labelled: Make):
    trainer = half_labelled(IdleTrainer)
    trainer.initialize()
    loader = trainer.get_dataloaders()[0].data_loader.unlabelled
    drawn = {key for _ in range(12) for key in next(loader)["keys"]}
    assert drawn == {"unlabelled_000", "unlabelled_001", "unlabelled_002"}


def test_the_log_tells_their_number(half_labelled: Make):
    trainer = half_labelled(IdleTrainer)
    trainer.initialize()
    batches(trainer, 1)
    assert "This training has 3 unlabelled cases." in Path(trainer.log_file).read_text()


def test_with_a_seed_batches_are_the_same_for_any_number_of_workers(half_labelled: Make, monkeypatch):
    drawn = []
    for workers in ("0", "1", "3"):
        monkeypatch.setenv("nnUNet_n_proc_DA", workers)
        monkeypatch.setattr("os.cpu_count", lambda: 4)
        trainer = half_labelled(IdleTrainer, seed=4)
        trainer.initialize()
        drawn.append([*batches(trainer, 4), *batches(trainer, 2, which=1)])
    for other in drawn[1:]:
        for mine, theirs in zip(drawn[0], other, strict=True):
            assert_equal(mine, theirs)
    steps = [batch["data"] for batch in drawn[0]]
    assert all(not torch.equal(one, two) for at, one in enumerate(steps) for two in steps[:at])


def test_with_a_seed_a_continued_run_goes_on_in_the_order_of_batches(half_labelled: Make):
    trainer = half_labelled(IdleTrainer, seed=4)
    trainer.initialize()
    whole = batches(trainer, 8)
    trainer.current_epoch = 2
    for mine, theirs in zip(batches(trainer, 2), whole[6:], strict=True):
        assert_equal(mine, theirs)
    assert whole[6]["step"] == 6


def test_with_a_seed_ranks_draw_other_batches(half_labelled: Make):
    trainer = half_labelled(IdleTrainer, seed=4)
    trainer.initialize()
    (one,) = batches(trainer, 1)
    with process_group(2, 4):  # of another node: its local rank is 0 too
        (two,) = batches(trainer, 1)
    assert not torch.equal(one["data"], two["data"])
    assert not torch.equal(one["unlabelled"], two["unlabelled"])


@pytest.mark.parametrize("seed", [4, None])
def test_with_a_seed_no_algorithm_is_chosen_by_its_time(half_labelled: Make, seed):
    trainer = half_labelled(IdleTrainer, seed=seed)
    trainer.initialize()
    streams = trainer.get_dataloaders()[0].data_loader
    for loader in (streams.labelled, streams.unlabelled):
        inner = [getattr(transform, "transform", None) for transform in loader.transforms.transforms]
        blurs = [transform.benchmark for transform in inner if isinstance(transform, GaussianBlurTransform)]
        assert blurs == [seed is None]


def test_without_a_seed_nothing_repeats(half_labelled: Make, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")
    trainer = half_labelled(IdleTrainer, seed=None)
    trainer.initialize()
    images = [batch[name] for batch in [*batches(trainer, 3), *batches(trainer, 3)] for name in ("data", "unlabelled")]
    assert all(not torch.equal(one, two) for at, one in enumerate(images) for two in images[:at])


def test_a_step_is_stocks_on_the_labelled_samples_where_the_loss_asks_for_no_more(half_labelled: Make):
    """Instance norm lets no sample see another, so gradients are those of the control."""
    idle, control = half_labelled(IdleTrainer), half_labelled(NNUNetBaselineTrainer)
    for trainer in (idle, control):
        trainer.initialize()
        trainer.set_deep_supervision_enabled(True)
        trainer.network.train()
    control.network.load_state_dict(idle.network.state_dict())
    (batch,) = batches(idle, 1)
    losses = [float(trainer.train_step(batch)["loss"]) for trainer in (idle, control)]
    assert idle.loss.unlabelled == 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for mine, theirs in zip(idle.network.parameters(), control.network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_labelled_batches_do_not_depend_on_the_unlabelled_ones(half_labelled: Make):
    first, second = (half_labelled(IdleTrainer, seed=4, unlabelled={"batch_size": size}) for size in (1, 3))
    first.initialize()
    second.initialize()
    (one,), (two,) = batches(first, 1), batches(second, 1)
    assert torch.equal(one["data"], two["data"])
    assert [len(batch["unlabelled"]) for batch in (one, two)] == [1, 3]


def running_children() -> int:
    return len(multiprocessing.active_children())


def test_a_training_ends_with_its_workers_stopped_and_everything_written(half_labelled: Make, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")
    trainer = half_labelled(IdleTrainer)
    trainer.run_training()
    assert running_children() == 0
    fold = Path(trainer.output_folder)
    assert (fold / "checkpoint_final.pth").is_file()
    assert trainer.loss.unlabelled == 2 * 3 * 2
    assert "unlabelled" not in (preprocessed(trainer) / "splits_final.json").read_text()
    trainer.perform_actual_validation()
    assert len(json.loads((fold / "validation" / "summary.json").read_text())["metric_per_case"]) == 1


def test_an_error_in_a_step_stops_the_workers(half_labelled: Make, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")
    trainer = half_labelled(IdleTrainer)
    monkeypatch.setattr(trainer, "network_input", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.run_training()
    assert running_children() == 0


def test_a_worker_that_fails_ends_the_training(half_labelled: Make, monkeypatch, capfd):
    monkeypatch.setenv("nnUNet_n_proc_DA", "2")
    trainer = half_labelled(IdleTrainer)
    trainer.initialize()
    get = trainer._unlabelled_loader

    def breaks(*arguments: Any) -> Any:
        loader = get(*arguments)
        loader._data.source_folder = "nowhere"
        return loader

    monkeypatch.setattr(trainer, "_unlabelled_loader", breaks)
    with pytest.raises(RuntimeError, match="background workers are no longer alive"):
        trainer.run_training()
    assert running_children() == 0
    capfd.readouterr()


def test_without_unlabelled_data_it_refuses_before_anything_is_written(half_labelled: Make):
    trainer = half_labelled(IdleTrainer)
    (preprocessed(trainer) / "LitePlans_3d_fullres_unlabelled.complete.json").unlink()
    with pytest.raises(UserError, match=r"nnunet_ext preprocess_unlabelled -d 700 -p LitePlans -c 3d_fullres"):
        trainer.run_training()
    assert [file.suffix for file in Path(trainer.output_folder).iterdir()] == [".txt"]


@pytest.mark.parametrize("kind", [IdleTrainer, PseudoLabelTrainer, BCPTrainer])
def test_a_validation_case_among_the_unlabelled_is_refused(half_labelled: Make, kind):
    """It is listed there, and the raw data are on another machine; pseudo-labels are of these cases too."""
    trainer = half_labelled(kind)
    case = trainer.do_split()[1][0]
    dataset = preprocessed(trainer).name
    listed = {f"unlabelled_00{number}": {"images": [f"elsewhere/{number}_0000.nii.gz"]} for number in range(3)}
    listed["unlabelled_001"]["images"] = [f"../{dataset}/imagesTr/{case}_0000.nii.gz"]
    trainer.dataset_json = trainer.dataset_json | {"unlabelled": listed}
    shutil.rmtree(preprocessed(trainer).parents[1] / "raw" / dataset)
    with pytest.raises(
        UserError, match=rf"found {dataset}/{case}, which is trained on as {dataset}/unlabelled_001\. Rem"
    ):
        trainer.get_dataloaders()


def test_an_unlabelled_image_that_became_a_link_to_a_validation_case_is_refused(half_labelled: Make):
    trainer = half_labelled(IdleTrainer)
    case = trainer.do_split()[1][0]
    raw = preprocessed(trainer).parents[1] / "raw" / preprocessed(trainer).name
    image = raw / "imagesUn" / "unlabelled_001_0000.nii.gz"
    image.unlink()
    image.hardlink_to(raw / "imagesTr" / f"{case}_0000.nii.gz")
    with pytest.raises(UserError, match=rf"'unlabelled_001' to be labelled or unlabelled, found it both as '{case}'"):
        trainer.get_dataloaders()


def test_a_cascade_is_refused(half_labelled: Make):
    trainer = half_labelled(IdleTrainer)
    trainer.is_cascaded = True
    trainer.configuration_manager.configuration["previous_stage"] = "3d_lowres"
    with pytest.raises(UserError, match=r"expected a configuration of one stage, got .* Train 3d_fullres or 3d_lowres"):
        trainer.initialize()


@pytest.mark.parametrize(("size", "of_ranks"), [(5, [2, 2, 1]), (3, [1, 1, 1]), (2, None)])
def test_ranks_share_the_unlabelled_batch(half_labelled: Make, size, of_ranks):
    trainer = half_labelled(IdleTrainer, unlabelled={"batch_size": size})
    trainer.is_ddp = True
    trainer.configuration_manager.configuration["batch_size"] = 3
    if of_ranks is None:
        message = r"-num_gpus 3: expected an unlabelled sample for each, got 2 .*-num_gpus 2"
        with process_group(2, 3), pytest.raises(UserError, match=message):
            trainer._check_batch()
        return
    found = []
    for rank in range(3):
        with process_group(rank, 3):
            trainer._check_batch()
            found.append(trainer._unlabelled_batch_size())
    assert found == of_ranks


@pytest.mark.parametrize(
    ("configuration", "labels", "wrapped"),
    [
        ("3d_fullres", "regions ignore", True),
        ("2d", "regions ignore", False),
        ("3d_fullres", "plain", False),
    ],
)
def test_ignored_samples_are_left_out_of_sample_wise_dice(half_labelled: Make, configuration, labels, wrapped):
    trainer = half_labelled(IdleTrainer, configuration, labels=labels)
    trainer.initialize()
    assert trainer.configuration_manager.batch_dice == (configuration == "2d")
    assert isinstance(trainer.loss.loss.loss, AnnotatedOnly) == wrapped


def test_the_ramp(half_labelled: Make):
    trainer = half_labelled(IdleTrainer, num_epochs=10, num_iterations_per_epoch=10, unlabelled={"ramp": 0.4})
    assert trainer.ramped(0) == pytest.approx(np.exp(-5))
    assert trainer.ramped(20) == pytest.approx(np.exp(-5 / 4))
    assert trainer.ramped(40) == trainer.ramped(99) == 1
