"""Pre-training on a small dataset: what is trained on, what is seen, what comes of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform
from killed_training import train_until_killed
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.base.init_from import init_from
from nnunet_ext.base.trained_on import data_difference
from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.source.plain_json import plain_json
from nnunet_ext.inspection.checkpoint_facts import checkpoint_facts
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.methods.fine_tune.trainer import FineTuneTrainer
from nnunet_ext.methods.masked_autoencoder.trainer import MaskedAutoencoderTrainer
from nnunet_ext.nnssl.adaptation_plan import AdaptationPlan
from nnunet_ext.nnssl.encoder_weights import EncoderWeights
from nnunet_ext.prediction.trained_model import TrainedModel
from nnunet_ext.seeding.seeds import Purpose
from nnunet_ext.semi_supervised.masked.images import InsideOnly

Make = Callable[..., Any]
BOTH = pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])


@pytest.fixture(autouse=True)
def _no_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)


def ready(half_labelled: Make, *arguments: Any, **knobs: Any) -> tuple[MaskedAutoencoderTrainer, dict[str, Any]]:
    trainer = half_labelled(MaskedAutoencoderTrainer, *arguments, **knobs)
    trainer.initialize()
    trainer.network.train()
    return trainer, next(trainer.get_dataloaders()[0])


def weights(network: Any) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in network.state_dict().values()]


# the network


@BOTH
def test_stock_names_and_shapes_but_for_the_heads(half_labelled: Make, configuration: str):
    trainer, _ = ready(half_labelled, configuration)
    plain = half_labelled(nnUNetTrainer, configuration)
    plain.initialize()
    ours, theirs = trainer.network.state_dict(), plain.network.state_dict()
    assert list(ours) == list(theirs)
    assert {name for name in ours if ours[name].shape != theirs[name].shape} == {n for n in ours if "seg_layers" in n}
    assert {ours[name].shape[0] for name in ours if "seg_layers" in name} == {1}


@BOTH
def test_a_step_gives_every_parameter_a_gradient(half_labelled: Make, configuration: str):
    trainer, batch = ready(half_labelled, configuration, initial_lr=1e-12)
    assert np.isfinite(trainer.train_step(batch)["loss"])
    for name, parameter in trainer.network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    heads = {name: p.grad.any() for name, p in trainer.network.named_parameters() if name.endswith("seg_layers.0.bias")}
    assert not any(heads.values())  # the lowest resolution


def test_a_network_without_heads_is_refused(half_labelled: Make, monkeypatch):
    trainer = half_labelled(MaskedAutoencoderTrainer)
    monkeypatch.setattr(nnUNetTrainer, "build_network_architecture", staticmethod(lambda *_: torch.nn.Conv3d(1, 1, 1)))
    with pytest.raises(UserError, match=r"expected a network with decoder.seg_layers, .*, found Conv3d without"):
        trainer.initialize()


# what it sees


@BOTH
def test_the_network_sees_no_hidden_voxel_and_restores_it_unaugmented(half_labelled: Make, configuration: str):
    trainer, batch = ready(half_labelled, configuration)
    inputs = []
    trainer.network.register_forward_pre_hook(lambda _, given: inputs.append(given[0].clone()))
    hidden = trainer.blocks.draw(len(batch["data"]), 1, 0.75, trainer.device)
    other = torch.where(hidden, torch.randn_like(batch["data"]), batch["data"])
    for images in (batch["data"], other):
        trainer.train_step(batch | {"data": images, "hidden": hidden})
    assert torch.equal(*inputs)
    assert not inputs[0][hidden.expand_as(inputs[0])].any()


def test_other_normalizations_hide_behind_the_mean_of_what_is_seen(half_labelled: Make):
    trainer, batch = ready(half_labelled)
    assert trainer.is_zero == [True]
    trainer.configuration_manager.configuration["normalization_schemes"] = ["CTNormalization"]
    assert trainer.is_zero == [False]
    patch = trainer.hidden_patch(batch)
    seen = patch.input(trainer.is_zero)[patch.hidden]
    assert seen.any()


def test_masks_are_drawn_anew_in_each_step_and_repeat_with_the_seed(half_labelled: Make):
    trainer, batch = ready(half_labelled)

    def masks() -> list[torch.Tensor]:
        trainer.on_train_epoch_start()
        return [trainer.hidden_patch(batch).hidden for _ in range(2)]

    first, again = masks(), masks()
    assert all(map(torch.equal, first, again))
    assert not torch.equal(*first)
    trainer.current_epoch = 1
    assert not torch.equal(masks()[0], first[0])


def test_all_channels_are_hidden_alike_unless_the_knob_says_otherwise(redundant: Make):
    for knob, masks in ((False, 1), (True, 2)):
        trainer = redundant(MaskedAutoencoderTrainer, masked_autoencoder={"per_channel": knob})
        trainer.initialize()
        patch = trainer.hidden_patch(next(trainer.get_dataloaders()[0]))
        assert patch.images.shape[1] == 2
        assert patch.hidden.shape[1] == masks


def test_no_intensity_is_augmented(half_labelled: Make):
    trainer = half_labelled(MaskedAutoencoderTrainer)
    trainer.initialize()
    kinds = [type(part).__name__ for part in trainer.get_dataloaders()[0].data_loader.loader.transforms.transforms]
    assert kinds == ["InsideOnly", "SpatialTransform", "MirrorTransform"]
    stock = trainer.get_training_transforms((16, 24, 24), (0, 0), None, (0, 1), False)
    assert any(isinstance(getattr(part, "transform", part), ImageOnlyTransform) for part in stock.transforms)


@pytest.mark.parametrize("labels", ["plain", "regions ignore"])
def test_no_label_leaves_the_loader_and_padding_does_not_count(half_labelled: Make, labels: str):
    trainer, batch = ready(half_labelled, labels=labels)
    assert set(batch["target"].unique().tolist()) <= {-1, 0}
    assert batch["target"].shape[1] == 1
    target = torch.zeros_like(batch["target"])
    target[:, :, :2] = -1
    patch = trainer.hidden_patch(batch | {"target": target})
    assert not patch.counted[:, :, :2].any()
    trainer.knobs["masked_autoencoder"]["exclude_padding"] = False
    assert trainer.hidden_patch(batch | {"target": target}).counted[:, :, :2].any()
    labelled = torch.tensor([[-1, 0, 1, 7]], dtype=torch.int16)
    assert InsideOnly()(image=None, segmentation=labelled)["segmentation"].tolist() == [[-1, 0, 0, 0]]


# which images


def test_pre_training_sees_no_validation_case(half_labelled: Make):
    trainer = half_labelled(MaskedAutoencoderTrainer)
    trainer.initialize()
    train, val = trainer.do_split()
    seen = {name for names in trainer.cases.train.values() for name in names}
    assert seen == {*train} | {"unlabelled_000", "unlabelled_001", "unlabelled_002"}
    assert seen.isdisjoint(val)
    loaders = trainer.get_dataloaders()
    assert {*loaders[0].data_loader.loader.indices} == seen
    assert {*loaders[1].data_loader.cases} == {*val}
    others = half_labelled(MaskedAutoencoderTrainer, masked_autoencoder={"labelled_images": False})
    assert [*map(len, others.cases.train.values())] == [0, 3]


@BOTH
def test_a_dataset_without_any_label(half_labelled: Make, configuration: str):
    trainer = half_labelled(MaskedAutoencoderTrainer, configuration, fold="all")
    planned = Path(trainer.preprocessed_dataset_folder_base)
    for folder in (trainer.preprocessed_dataset_folder, planned / "gt_segmentations", planned.parents[1] / "raw"):
        shutil.rmtree(folder)
    file = planned / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"numTraining": 0}))
    trainer = half_labelled(MaskedAutoencoderTrainer, configuration, fold="all")
    trainer.run_training()
    trainer.perform_actual_validation()
    assert [len(names) for cases in (trainer.cases.train, trainer.cases.val) for names in cases.values()] == [
        0,
        2,
        0,
        1,
    ]
    assert json.loads((Path(trainer.output_folder) / "validation" / "summary.json").read_text())["masked_error"] > 0


def test_without_unlabelled_images(half_labelled: Make):
    trainer = half_labelled(MaskedAutoencoderTrainer)
    planned = Path(trainer.preprocessed_dataset_folder_base)
    shutil.rmtree(planned / "LitePlans_3d_fullres_unlabelled")
    with pytest.raises(UserError, match=r"expected preprocessed unlabelled images .* Run nnunet_ext preprocess_unlab"):
        _ = half_labelled(MaskedAutoencoderTrainer).cases
    shutil.rmtree(planned.parents[1] / "raw" / planned.name / "imagesUn")
    assert [*map(len, half_labelled(MaskedAutoencoderTrainer).cases.train.values())] == [4, 0]
    alone = half_labelled(MaskedAutoencoderTrainer, masked_autoencoder={"labelled_images": False})
    with pytest.raises(UserError, match="expected images to pre-train on, found none"):
        alone.run_training()
    assert not list(Path(alone.output_folder).glob("*.pth"))


def test_files_without_a_channel_number_are_not_passed_over(half_labelled: Make):
    """Nor does an empty folder stop a training on the other images."""
    trainer = half_labelled(MaskedAutoencoderTrainer)
    planned = Path(trainer.preprocessed_dataset_folder_base)
    images = planned.parents[1] / "raw" / planned.name / "imagesUn"
    shutil.rmtree(planned / "LitePlans_3d_fullres_unlabelled")
    for number, file in enumerate(images.iterdir()):
        file.rename(images / f"scan{number}.nii.gz")
    with pytest.raises(UserError, match=r"expected preprocessed unlabelled images .* Run nnunet_ext preprocess_unlab"):
        _ = half_labelled(MaskedAutoencoderTrainer).cases
    for file in images.iterdir():
        file.unlink()
    assert [*map(len, half_labelled(MaskedAutoencoderTrainer).cases.train.values())] == [4, 0]


def test_images_that_come_in_the_middle_are_refused(half_labelled: Make):
    """Else one that was trained on could be held out then."""
    first, then = (half_labelled(MaskedAutoencoderTrainer, fold="all") for _ in range(2))
    assert {name: [*map(len, split)] for name, split in first.splits().items()} == {
        "Dataset700_Half": [5, 0],
        "Dataset700_Half/imagesUn": [2, 1],
    }
    _, unlabelled = then.cases.train.values()
    unlabelled.append("unlabelled_003")
    told = data_difference(first.data_record(), then.data_record())
    assert told == "other training cases of Dataset700_Half/imagesUn (2 -> 3)"


def test_a_validation_case_under_another_name_is_refused(half_labelled: Make):
    trainer = half_labelled(MaskedAutoencoderTrainer)
    trainer.initialize()
    val = trainer.do_split()[1][0]
    raw = Path(trainer.preprocessed_dataset_folder_base).parents[1] / "raw" / "Dataset700_Half"
    again = raw / "imagesUn" / "unlabelled_000_0000.nii.gz"
    again.unlink()
    again.symlink_to(raw / "imagesTr" / f"{val}_0000.nii.gz")
    with pytest.raises(UserError, match=f"unlabelled_000|{val}"):
        _ = trainer.cases


# validation


@pytest.mark.parametrize("workers", ["0", "2"])
def test_validation_patches_and_masks_are_the_same_in_each_epoch(half_labelled: Make, monkeypatch, workers: str):
    monkeypatch.setenv("nnUNet_n_proc_DA", workers)
    trainer = half_labelled(MaskedAutoencoderTrainer, num_val_iterations_per_epoch=2, seed=None)
    trainer.initialize()
    loader = trainer.get_dataloaders()[1]
    epochs = [[next(loader) for _ in range(2)] for _ in range(2)]
    for first, second in zip(*epochs, strict=True):
        for name in ("data", "target", "hidden"):
            assert torch.equal(first[name], second[name]), name
    samples = torch.cat([batch["hidden"] for batch in epochs[0]]).flatten(1)
    assert len(samples.unique(dim=0)) == 4
    if workers != "0":
        loader._finish()
        return
    torch.manual_seed(5)
    other = half_labelled(MaskedAutoencoderTrainer, num_val_iterations_per_epoch=2, seed=9, run="other")
    other.initialize()
    batch = next(other.get_dataloaders()[1])
    assert torch.equal(batch["hidden"], epochs[0][0]["hidden"])
    assert torch.equal(batch["data"], epochs[0][0]["data"])


def test_a_whole_run(half_labelled: Make):
    trainer = half_labelled(MaskedAutoencoderTrainer, num_epochs=12, num_iterations_per_epoch=1, save_every=50)
    trainer.run_training()
    log = trainer.logger.get_checkpoint()
    assert len(set(log["blurring"])) == len(set(log["constant"])) == 1
    assert log["constant"][0] > log["blurring"][0] > 0
    shares = [1 - error / constant for error, constant in zip(log["val_losses"], log["constant"], strict=True)]
    assert log["mean_fg_dice"] == pytest.approx(shares)
    assert trainer._best_ema == max(log["ema_fg_dice"])
    folder = Path(trainer.output_folder)
    drawn = sorted(file.name for file in (folder / "restored").iterdir())
    assert drawn == [f"epoch_{n:04d}.png" for n in (2, 3, 4, 5, 6, 8, 9, 10, 11, 12)]  # each tenth, rounded up
    trainer.perform_actual_validation()
    found = json.loads((folder / "validation" / "summary.json").read_text())
    assert found["masked_error"] == pytest.approx(log["val_losses"][-1])
    assert found["blurring"] == pytest.approx(log["blurring"][-1])
    assert found["learnt_more_than_blurring"] == (found["masked_error"] < found["blurring"])
    assert sorted(file.name for file in (folder / "validation").iterdir()) == [
        "restored.png",
        "summary.json",
        "validated.json",
    ]
    again = half_labelled(MaskedAutoencoderTrainer, num_epochs=12, num_iterations_per_epoch=1, save_every=50)
    again.load_checkpoint(str(folder / "checkpoint_final.pth"))  # --val
    again.perform_actual_validation()
    assert json.loads((folder / "validation" / "summary.json").read_text()) == found


def test_errors_of_blurring_are_those_of_the_first_validation(half_labelled: Make):
    trainer = half_labelled(MaskedAutoencoderTrainer)
    steps = [[10.0, 40, 30, 20, 30, 50, 60], [20, 60, 40, 20, 20, 40, 40]]  # network, constant, Gaussians, voxels
    first = trainer.restoration([{"sums": np.array(step)} for step in steps])
    assert (first.network, first.constant, first.blurring) == (0.3, 1.0, 0.4)
    second = trainer.restoration([{"sums": np.array([8.0, 60])}, {"sums": np.array([2.0, 40])}])
    assert (second.network, second.constant, second.blurring) == (0.1, 1.0, 0.4)


def test_training_lowers_the_error(half_labelled: Make):
    trainer = half_labelled(
        MaskedAutoencoderTrainer,
        num_epochs=2,
        num_iterations_per_epoch=40,
        num_val_iterations_per_epoch=2,
        optimizer="AdamW",
        initial_lr=3e-3,
    )
    trainer.run_training()
    log = trainer.logger.get_checkpoint()
    assert log["val_losses"][-1] < log["blurring"][-1]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_that_was_killed_and_continued_repeats_an_uninterrupted_one(half_labelled: Make, monkeypatch, workers):
    monkeypatch.setenv("nnUNet_n_proc_DA", workers)
    knobs = {"num_epochs": 3, "num_iterations_per_epoch": 2, "seed": 5}
    whole = half_labelled(MaskedAutoencoderTrainer, run="whole", **knobs)
    whole.run_training()
    killed = half_labelled(MaskedAutoencoderTrainer, run="killed", **knobs)
    train_until_killed(killed, 1)
    torch.rand(17)  # another process has other random numbers
    continued = half_labelled(MaskedAutoencoderTrainer, run="killed", continued=True, **knobs)
    continued.load_checkpoint(str(Path(killed.output_folder) / "checkpoint_latest.pth"))
    assert continued.current_epoch == 1
    continued.run_training()
    for name in ("train_losses", "val_losses", "blurring"):
        assert continued.logger.get_value(name, step=None) == whole.logger.get_value(name, step=None)
    assert all(map(torch.equal, weights(continued.network), weights(whole.network)))


# its checkpoint


@pytest.fixture
def pretrained(half_labelled: Make) -> Path:
    """The checkpoint of a short pre-training."""
    trainer = half_labelled(MaskedAutoencoderTrainer, run="pretraining")
    trainer.run_training()
    return Path(trainer.output_folder) / "checkpoint_final.pth"


def test_what_it_holds(pretrained: Path):
    checkpoint = torch.load(pretrained, weights_only=True)  # nothing but tensors and plain types
    described = plain_json(checkpoint["nnssl_adaptation_plan"])
    encoder = EncoderWeights.read(described, checkpoint["network_weights"], "x")
    planned = AdaptationPlan.read(described, "x").plans(encoder, "x")["configurations"]["3d_fullres"]
    assert planned["spacing"] == [2.5, 1.0, 1.0]
    assert tuple(planned["patch_size"]) == (16, 24, 24)
    facts = checkpoint_facts(checkpoint, pretrained)
    assert facts["kind"] == "nnU-Net v2 checkpoint"
    assert facts["purpose"].startswith("pre-training: it restores hidden parts of images and segments nothing")
    assert facts["method"] == "Masked autoencoder"


def test_no_adaptation_plan_of_a_2d_network(half_labelled: Make):
    trainer, _ = ready(half_labelled, "2d")
    assert "nnssl_adaptation_plan" not in trainer.further_entries()


def test_stock_nnunet_starts_from_it_in_a_process_without_this_package(half_labelled: Make, pretrained: Path, tmp_path):
    trainer = half_labelled(nnUNetTrainer)
    trainer.initialize()
    given = tmp_path / "given.pth"
    torch.save({"plans": trainer.plans_manager.plans, "weights": trainer.network.state_dict()}, given)
    code = f"""
import sys
sys.path = [place for place in sys.path if not __import__("os").path.isdir(place + "/nnunet_ext")]
sys.meta_path = [finder for finder in sys.meta_path if "nnunet_ext" not in str(getattr(finder, "__module__", finder))]
try:
    import nnunet_ext
except ImportError:
    pass
else:
    raise SystemExit("nnunet_ext can be imported")
import torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
given = torch.load({str(given)!r}, weights_only=False)
plans = PlansManager(given["plans"])
network = nnUNetTrainer.build_network_architecture(plans, plans.get_configuration("3d_fullres"), 1, 4, True)
network.load_state_dict(given["weights"])
load_pretrained_weights(network, {str(pretrained)!r})
source = torch.load({str(pretrained)!r}, weights_only=False)["network_weights"]
for name, tensor in network.state_dict().items():
    expected = given["weights"] if ".seg_layers." in name else source
    assert torch.equal(tensor, expected[name]), name
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("done\n"), done.stdout + done.stderr


@pytest.mark.parametrize("parts", ["all", "encoder"])
def test_our_trainers_start_from_it_with_fresh_heads(half_labelled: Make, pretrained: Path, parts: str):
    fresh = half_labelled(NNUNetBaselineTrainer)
    fresh.initialize()
    knobs = {"init_from": str(pretrained), "fine_tune": {"transfer": parts}}
    trainer = half_labelled(NNUNetBaselineTrainer, run="tuned", **knobs)
    trainer.on_train_start()
    source = torch.load(pretrained, weights_only=True)["network_weights"]
    for name, tensor in trainer.network.state_dict().items():
        taken = "encoder." in name or (parts == "all" and "seg_layers" not in name)
        expected = source if taken else fresh.network.state_dict()
        assert torch.equal(tensor, expected[name]), name
    told = json.loads((Path(trainer.output_folder) / "init_from.json").read_text())["tensors"]
    reasons = {fate["reason"] for fate in told if fate["kind"] == "unused" and "transpconvs" in fate["tensor"]}
    assert reasons == ({"the knob fine_tune.transfer asks for the encoder alone"} if parts == "encoder" else set())


@pytest.mark.parametrize(("fold", "warned"), [(0, False), (1, True), ("all", False)])
def test_another_fold_says_that_its_images_were_seen(
    half_labelled: Make, pretrained: Path, fold: int | str, warned: bool, capsys: pytest.CaptureFixture[str]
):
    """The pre-training is of fold 0; fold all holds nothing out."""
    half_labelled(NNUNetBaselineTrainer, run="tuned", fold=fold, init_from=str(pretrained)).on_train_start()
    told = "WARNING: init_from: the pre-training restored images of Dataset700_Half in another fold"
    assert (told in capsys.readouterr().out) == warned


def test_heads_of_as_many_outputs_stay_fresh_too(redundant: Make):
    """Two channels, two classes: names of classes are no names of channels."""
    trainer = redundant(MaskedAutoencoderTrainer, num_epochs=1, num_iterations_per_epoch=1)
    trainer.run_training()
    source = Path(trainer.output_folder) / "checkpoint_final.pth"
    content = torch.load(source, weights_only=True)
    tuned = redundant(NNUNetBaselineTrainer, run="tuned")
    tuned.initialize()
    heads = [name for name in content["network_weights"] if "seg_layers" in name]
    assert {content["network_weights"][name].shape for name in heads} == {
        tuned.network.state_dict()[name].shape for name in heads
    }
    done = init_from(tuned.network, str(source), init_args=tuned.my_init_kwargs)
    assert {fate.kind for fate in done.fates if "seg_layers" in fate.tensor} == {"fresh", "unused"}
    assert done.count("loaded") == len(content["network_weights"]) - len(heads)
    again = redundant(MaskedAutoencoderTrainer, run="again", init_from=str(source))
    again.on_train_start()  # a pre-training that goes on
    assert again.logger.get_checkpoint()["val_losses"] == []


def test_without_a_step_it_is_the_stock_start_with_fresh_heads(half_labelled: Make):
    trainer = half_labelled(MaskedAutoencoderTrainer, run="pretraining")
    trainer.initialize()
    trainer.my_init_kwargs["nnunet_ext"] = trainer.data_record()
    file = Path(trainer.output_folder) / "checkpoint_final.pth"
    trainer.save_checkpoint(str(file))
    trainer.seed(Purpose.WEIGHTS)
    planned = trainer.plans_manager, trainer.configuration_manager
    stock = nnUNetTrainer.build_network_architecture(*planned, 1, 1, True).state_dict()  # with as many outputs
    fresh, start = (half_labelled(NNUNetBaselineTrainer, init_from=source, run="tuned") for source in (None, str(file)))
    fresh.initialize()
    start.on_train_start()
    for name, tensor in start.network.state_dict().items():
        expected = fresh.network.state_dict() if "seg_layers" in name else stock
        assert torch.equal(tensor, expected[name]), name


def test_fine_tuning_knows_no_class_of_it(half_labelled: Make, pretrained: Path):
    trainer = half_labelled(FineTuneTrainer, run="tuned", init_from=str(pretrained), num_epochs=1)
    trainer.on_train_start()
    assert trainer._known == ()
    with pytest.raises(UserError, match=r"fine_tune\.keep_unannotated"):
        half_labelled(
            NNUNetBaselineTrainer, run="kept", init_from=str(pretrained), fine_tune={"keep_unannotated": True}
        ).on_train_start()


def test_neither_stock_nor_our_prediction_takes_it(half_labelled: Make, pretrained: Path):
    expected = "MaskedAutoencoderTrainer: expected a model that segments, found one that restores images"
    with pytest.raises(UserError, match=expected):
        TrainedModel.load(pretrained.parents[1], folds=[0])
    with pytest.raises(UserError, match=expected):
        nnUNetPredictor(device=torch.device("cpu")).initialize_from_trained_model_folder(
            str(pretrained.parents[1]), (0,), "checkpoint_final.pth"
        )


# bad input


@pytest.mark.parametrize("ratio", [0, 1, -0.5, 1.5])
def test_nothing_or_all_hidden_is_refused(half_labelled: Make, ratio: float):
    with pytest.raises(UserError, match=f"'masked_autoencoder.ratio' expects a number > 0 and < 1, got {ratio}"):
        half_labelled(MaskedAutoencoderTrainer, masked_autoencoder={"ratio": ratio})


def test_what_else_is_refused_before_training(half_labelled: Make):
    with pytest.raises(UserError, match="knob 'channel_dropout': expected 0 for MaskedAutoencoderTrainer"):
        half_labelled(MaskedAutoencoderTrainer, channel_dropout=0.5).initialize()
    trainer = half_labelled(MaskedAutoencoderTrainer)
    trainer.configuration_manager.configuration["patch_size"] = [1, 1, 1]
    with pytest.raises(UserError, match=r"plans 'LitePlans': expected a patch of at least two blocks"):
        trainer.initialize()
    trainer = half_labelled(MaskedAutoencoderTrainer)
    trainer.is_cascaded = True
    with pytest.raises(UserError, match="MaskedAutoencoderTrainer: expected a configuration of one stage, got '3d_ful"):
        trainer.initialize()
    trainer = half_labelled(MaskedAutoencoderTrainer, init_from="x.pth", fine_tune={"keep_unannotated": True})
    with pytest.raises(UserError, match="found MaskedAutoencoderTrainer, which looks at no label"):
        ExtTrainer.on_train_start(trainer)


def test_a_collection_is_refused(collection: Path):
    planned = collection / "preprocessed" / "Dataset900_Phantoms"
    plans = json.loads((planned / "CollectionLitePlans.json").read_text()) | {"continue_training": False}
    description = json.loads((planned / "dataset.json").read_text())
    trainer = MaskedAutoencoderTrainer(plans, "3d_fullres", 0, description, torch.device("cpu"))
    with pytest.raises(UserError, match=r"expected one dataset, found the collection Dataset900_Phantoms\. Pre-train"):
        trainer.run_training()
