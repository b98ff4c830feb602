"""Trainers that fill in the classes of their source: what they pass on to nnU-Net, and what comes out of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killed_training import train_until_killed
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext import sockets
from nnunet_ext.base.checkpoints import EXTRA
from nnunet_ext.base.method import methods
from nnunet_ext.cli.main import main
from nnunet_ext.errors import UserError
from nnunet_ext.methods.ba_net.trainer import BANetTrainer
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.methods.fine_tune.trainer import FineTuneTrainer
from nnunet_ext.phantoms.dataset import write_nifti
from nnunet_ext.strategies.filled_background import at_scales, filled_labels, filled_regions
from nnunet_ext.strategies.keeps_classes import BEGAN, STATE, KeepsClasses

Make = Callable[..., Any]
KEEP = {"fine_tune": {"keep_unannotated": True}}
CHANNELS = {"0": "phantom0"}
LABELS = {"background": 0, "heart": 1, "tumour": 2, "organ": 3}  # of the source; the data: organ 1, wall 2, tumour 3
REGIONS = {"background": 0, "tumour": [2], "organ": [1, 2]}
ANNOTATED = {f"case_{number:03d}": ["wall", "tumour"] for number in range(5)}


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)


@pytest.fixture
def made(half_labelled: Make, tmp_path: Path) -> Make:
    """Make a trainer that starts from an untrained network of another trainer; ``annotated`` is in dataset.json.

    ``described`` are labels and channels of the source.
    """

    def make(
        trainer: type[Any],
        configuration: str = "2d",
        *,
        labels: str = "plain",
        described: dict[str, Any] | None = None,
        builder: type[Any] = NNUNetBaselineTrainer,
        annotated: dict[str, list[str]] | None = ANNOTATED,
        **options: Any,
    ) -> Any:
        plain = half_labelled(builder, configuration, labels=labels, run="source")
        file = tmp_path / "source.pth"
        if not file.exists():
            names = described or {"labels": REGIONS if "regions" in labels else LABELS}
            description = {"channel_names": CHANNELS, "file_ending": ".nii.gz"} | names
            heads = len(description["labels"]) - ("regions" in labels)
            torch.manual_seed(1)
            managers = plain.plans_manager, plain.configuration_manager
            network = builder.build_network_architecture(*managers, len(description["channel_names"]), heads, True)
            arguments = plain.my_init_kwargs | {"dataset_json": description}
            torch.save({"network_weights": network.state_dict(), "init_args": arguments}, file)
        place = Path(plain.preprocessed_dataset_folder_base) / "dataset.json"
        content = json.loads(place.read_text())
        place.write_text(json.dumps(content | ({} if annotated is None else {"annotated": annotated})))
        return half_labelled(trainer, configuration, labels=labels, **{"init_from": str(file)} | options)

    return make


def fold(trainer: Any) -> Path:
    return Path(trainer.output_folder)


def log_of(trainer: Any) -> str:
    return "\n".join(file.read_text() for file in sorted(fold(trainer).glob("training_log_*.txt")))


def started(trainer: Any) -> Any:
    trainer.on_train_start()
    return trainer


def given(trainer: Any, monkeypatch: Any, step: str, batch: dict[str, Any]) -> dict[str, Any]:
    """What a step passes on to nnU-Net's own."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(nnUNetTrainer, step, lambda _, batch: found.append(batch) or {})
    getattr(trainer, step)(batch)
    return found[0]


def predicted(trainer: Any, images: torch.Tensor, heads: int) -> torch.Tensor:
    """Logits of the source by nnU-Net's own loading."""
    managers = trainer.plans_manager, trainer.configuration_manager
    network = nnUNetTrainer.build_network_architecture(*managers, 1, heads, False)
    network.load_state_dict(torch.load(trainer.knobs["init_from"], weights_only=False)["network_weights"])
    with torch.no_grad():
        return network.eval()(images)


@pytest.mark.parametrize("step", ["train_step", "validation_step"])
@pytest.mark.parametrize(
    ("configuration", "labels"),
    [("2d", "plain"), ("2d", "regions ignore"), ("3d_fullres", "ignore"), ("3d_fullres", "regions")],
)
def test_every_batch_is_filled(made: Make, monkeypatch: Any, configuration: str, labels: str, step: str) -> None:
    """By the source's whole network, at every scale; images and cases are those of the loader."""
    trainer = started(made(NNUNetBaselineTrainer, configuration, labels=labels, **KEEP))
    assert trainer.kept_classes == ("organ",)
    batch = next(trainer.dataloader_train)
    before = [scale.clone() for scale in batch["target"]]
    passed = given(trainer, monkeypatch, step, batch)
    assert torch.equal(passed["data"], batch["data"])
    assert all(torch.equal(scale, old) for scale, old in zip(batch["target"], before, strict=True))
    heads = 2 if "regions" in labels else 4
    logits = predicted(trainer, batch["data"], heads)
    unannotated = torch.zeros((len(logits), 3 if heads == 2 else 4), dtype=torch.bool)
    unannotated[:, 0 if heads == 2 else 1] = True
    fill, places = (filled_regions, [2, 0]) if heads == 2 else (filled_labels, [0, None, 3, 1])
    expected = at_scales(fill(before[0], logits, places, unannotated), before)
    assert all(torch.equal(one, other) for one, other in zip(passed["target"], expected, strict=True))
    assert not torch.equal(expected[0], before[0])
    assert "organ not annotated in some cases (annotated in dataset.json)" in log_of(trainer)


def test_a_task_s_view_as_the_source(made: Make, monkeypatch: Any) -> None:
    """Of a collection's heads, those of its task are asked."""
    trainer = made(NNUNetBaselineTrainer, **KEEP)
    file = Path(trainer.knobs["init_from"])
    batch = next(started(trainer).dataloader_train)
    expected = trainer.with_kept_classes(batch)["target"][0]
    content = torch.load(file, weights_only=False)
    for name, tensor in content["network_weights"].items():
        if "seg_layers" in name:
            content["network_weights"][name] = torch.cat((torch.rand_like(tensor[:2]), tensor))
    tasks = [{"name": "other", "heads": 2}, {"name": "own", "heads": 4}]
    content["init_args"]["plans"] = content["init_args"]["plans"] | {"collection": {"task": "own", "tasks": tasks}}
    torch.save(content, file)
    again = started(made(NNUNetBaselineTrainer, **KEEP))
    assert again.kept_classes == ("organ",)
    assert torch.equal(again.with_kept_classes(batch)["target"][0], expected)
    assert not torch.equal(expected, batch["target"][0])


def test_only_the_cases_that_lack_them(made: Make, monkeypatch: Any) -> None:
    trainer = started(made(NNUNetBaselineTrainer, annotated={"case_001": ["wall", "tumour"]}, **KEEP))
    batch = next(trainer.dataloader_train)
    batch["keys"] = ["case_001", *["case_002"] * (len(batch["keys"]) - 1)]
    passed = given(trainer, monkeypatch, "train_step", batch)
    changed = [not torch.equal(one, other) for one, other in zip(passed["target"][0], batch["target"][0], strict=True)]
    assert changed == [True] + [False] * (len(changed) - 1)


def test_a_target_of_one_scale(made: Make) -> None:
    trainer = started(made(NNUNetBaselineTrainer, **KEEP))
    batch = next(trainer.dataloader_train)
    filled = trainer.with_kept_classes(batch | {"target": batch["target"][0]})["target"]
    assert torch.equal(filled, trainer.with_kept_classes(batch)["target"][0])


def test_names_in_the_data_and_in_the_source(made: Make) -> None:
    """The wall is what the source calls heart, and nobody annotated it."""
    annotated = {case: ["tumour", "organ"] for case in ANNOTATED}
    trainer = started(made(NNUNetBaselineTrainer, annotated=annotated, init_from_classes={"wall": "heart"}, **KEEP))
    assert trainer.kept_classes == ("wall",)
    assert trainer._kept_places == (0, 2, 3, 1)
    assert "rows by name: background, organ, wall, tumour" in log_of(trainer)


@pytest.mark.parametrize("trainer", [FineTuneTrainer, BANetTrainer])
def test_without_the_knob_nothing_changes(made: Make, trainer: type[Any]) -> None:
    other = started(made(trainer))
    batch = next(other.dataloader_train)
    assert other.with_kept_classes(batch) is batch
    assert other.kept_classes == ()
    assert STATE not in other.extra_state()
    assert "keep_unannotated" not in log_of(other)


def test_labels_that_have_all_classes_of_the_source(made: Make) -> None:
    """By what occurs in the training cases: nothing is filled in, and a line says so."""
    trainer = started(made(NNUNetBaselineTrainer, annotated=None, **KEEP))
    assert "WARNING: knob fine_tune.keep_unannotated changes nothing: of the classes that " in log_of(trainer)
    assert "all of them were annotated: organ, tumour. Set it to false." in log_of(trainer)
    batch = next(trainer.dataloader_train)
    assert trainer.with_kept_classes(batch) is batch


def test_a_source_without_any_of_the_classes(made: Make) -> None:
    described = {"labels": {"background": 0, "lung": 1}}
    trainer = started(made(NNUNetBaselineTrainer, described=described, **KEEP))
    assert "none has its name here. Set it to false." in log_of(trainer)


def test_killed_and_continued(made: Make) -> None:
    """Bit by bit an uninterrupted training; no checkpoint holds the source's network, and its file is needed."""
    knobs = KEEP | {"num_epochs": 3, "num_iterations_per_epoch": 2, "optimizer": "AdamW", "initial_lr": 1e-2}
    whole = made(FineTuneTrainer, run="whole", **knobs)
    whole.run_training()
    killed = made(FineTuneTrainer, run="killed", **knobs)
    train_until_killed(killed, 2)
    continued = made(FineTuneTrainer, run="killed", continued=True, **knobs)
    continued.load_checkpoint(str(fold(continued) / "checkpoint_latest.pth"))
    continued.run_training()
    one, other = (torch.load(fold(each) / "checkpoint_final.pth", weights_only=False) for each in (whole, continued))
    assert all(torch.equal(tensor, other["network_weights"][name]) for name, tensor in one["network_weights"].items())
    for key in ("train_losses", "val_losses", "ema_fg_dice"):
        assert one["logging"][key] == other["logging"][key]
    assert one[EXTRA].keys() == {"start", STATE, BEGAN}
    reports = [json.loads((fold(each) / "fine_tuning.json").read_text()) for each in (whole, continued)]
    assert reports[0] == reports[1]
    verdicts = {row["class"]: row["verdict"] for row in reports[0]["classes"]}
    assert verdicts["organ"] == "agreement with the source"
    assert verdicts["wall"] == "new"
    assert "(agreement with the source)" in log_of(whole)

    again = made(FineTuneTrainer, run="whole", **knobs)
    again.load_checkpoint(str(fold(again) / "checkpoint_final.pth"))
    again.perform_actual_validation()
    assert "organ not annotated, at least in some cases (knob fine_tune.keep_unannotated): where" in log_of(again)

    gone = made(FineTuneTrainer, run="whole", continued=True, **knobs)
    gone.load_checkpoint(str(fold(gone) / "checkpoint_final.pth"))
    Path(gone.knobs["init_from"]).unlink()
    with pytest.raises(UserError, match=r"knob 'init_from': expected an nnU-Net checkpoint, found no file"):
        gone.on_train_start()


def test_resumed_with_other_labels(made: Make) -> None:
    """Another source under the same path, or another 'annotated': the labels would change in the middle."""
    knobs = KEEP | {"num_iterations_per_epoch": 1}
    made(NNUNetBaselineTrainer, **knobs).run_training()

    def resumed(annotated: dict[str, list[str]] = ANNOTATED) -> Any:
        trainer = made(NNUNetBaselineTrainer, continued=True, annotated=annotated, **knobs)
        trainer.load_checkpoint(str(fold(trainer) / "checkpoint_final.pth"))
        return trainer

    file = Path(started(resumed()).knobs["init_from"])
    with pytest.raises(UserError, match=r"same classes not annotated in the same cases .* Restore them, or train"):
        started(resumed(ANNOTATED | {"case_001": ["wall", "tumour", "organ"]}))
    content = torch.load(file, weights_only=False)
    content["network_weights"]["decoder.seg_layers.0.bias"] += 1
    torch.save(content, file)
    with pytest.raises(UserError, match=r"source\.pth: expected the weights that the run began with, .*found others\."):
        started(resumed())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"init_from": None},
            "expected a trained model that knows further classes, found none. Set the knob init_from",
        ),
        (
            {"described": {"labels": LABELS, "channel_names": {"0": "phantom0", "1": "PET"}}},
            "expected images with all channels of the source (phantom0, PET)",
        ),
        ({"labels": "regions", "described": {"labels": LABELS}}, "expected a source with regions, as the data have"),
        ({"annotated": {"case_9": ["wall"]}}, "dataset.json: 'annotated': unknown case 'case_9'"),
        ({"init_from_classes": {"wall": "hart"}}, "knob 'init_from_classes': unknown class 'hart' of the source"),
    ],
)
def test_refused_before_the_first_step(made: Make, options: dict[str, Any], message: str) -> None:
    trainer = made(NNUNetBaselineTrainer, **options, **KEEP)
    with pytest.raises(UserError) as error:
        trainer.run_training()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(fold(trainer).glob("*.pth"))


def test_a_source_that_does_not_say_its_classes(made: Make) -> None:
    trainer = made(NNUNetBaselineTrainer, **KEEP)
    file = trainer.knobs["init_from"]
    content = torch.load(file, weights_only=False)
    del content["init_args"]["dataset_json"]
    torch.save(content, file)
    with pytest.raises(UserError, match=r"expected a source whose classes are known, .* found no dataset.json of one"):
        trainer.run_training()


def test_networks_of_methods(made: Make) -> None:
    """BA-Net's own fills in; a stock network under it would leave its boundary decoder random, so it is refused."""
    trainer = made(BANetTrainer, **KEEP)
    with pytest.raises(UserError, match=r"expected weights of this trainer's network.* boundary_decoder\..*not in the"):
        trainer.run_training()
    Path(trainer.knobs["init_from"]).unlink()
    own = started(made(BANetTrainer, builder=BANetTrainer, **KEEP))
    batch = next(own.dataloader_train)
    assert not torch.equal(own.with_kept_classes(batch)["target"][0], batch["target"][0])
    assert np.isfinite(own.train_step(batch)["loss"])


def test_who_cannot(half_labelled: Make, tmp_path: Path) -> None:
    """Trainers of unlabelled images and of collections, all of them."""
    semi = {name for card in methods().values() if "unlabelled images" in card.supports for name in card.trainers}
    collections = {name for card in methods().values() if "collections" in card.supports for name in card.trainers}
    for name in sockets.names("trainers"):
        kind: Any = sockets.load("trainers", name)
        assert issubclass(kind, KeepsClasses)
        if name in semi | collections | {"SequentialFineTuningTrainer"}:
            assert kind.keeps_no_classes, name
    assert not any(kind.keeps_no_classes for kind in (NNUNetBaselineTrainer, FineTuneTrainer, BANetTrainer))
    trainer = half_labelled(sockets.load("trainers", "MeanTeacherTrainer"), "2d", init_from="x.pth", **KEEP)
    with pytest.raises(UserError, match=r"found MeanTeacherTrainer, whose batches have unlabelled images\. Set it to"):
        trainer.run_training()


NAMES = ("a", "b", "c")
BRIGHTNESS = (0.0, 2.0, -2.0, 4.0)  # background, a, b, c


def discs(rng: np.random.Generator) -> tuple[Any, Any]:
    """An image (6, 32, 32) and its labels: in each slice a disc of each class, in one of the four corners."""
    labels = np.zeros((6, 32, 32), np.uint8)
    corners = rng.permutation(4)[:3]
    y, x = np.indices((32, 32))
    for value, corner in enumerate(corners, 1):
        centre = 8 + 16 * (corner // 2) + rng.uniform(-1, 1), 8 + 16 * (corner % 2) + rng.uniform(-1, 1)
        labels[:, np.hypot(y - centre[0], x - centre[1]) < rng.uniform(4.5, 6)] = value
    return (np.asarray(BRIGHTNESS)[labels] + rng.normal(0, 0.4, labels.shape)).astype(np.float32), labels


def write_discs(root: Path, number: int, classes: tuple[str, ...], annotated: tuple[int, ...]) -> dict[str, Any]:
    """Write and preprocess a dataset; the true labels of its cases by name."""
    raw = root / "raw" / f"Dataset{number}_Discs"
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True)
    truth = {}
    for index in range(6):
        image, truth[f"case_{index}"] = discs(np.random.default_rng((number, index)))
        drawn = np.where(np.isin(truth[f"case_{index}"], annotated), truth[f"case_{index}"], 0)
        write_nifti(raw / "imagesTr" / f"case_{index}_0000.nii.gz", image, (1.0, 1.0, 1.0))
        write_nifti(raw / "labelsTr" / f"case_{index}.nii.gz", drawn.astype(np.uint8), (1.0, 1.0, 1.0))
    labels = {"background": 0} | {name: value for value, name in enumerate(classes, 1)}
    description = {"channel_names": {"0": "MR"}, "labels": labels, "numTraining": 6, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(description))
    words = ["-d", str(number), "-pl", "LitePlanner", "-c", "2d", "-np", "1", "-npfp", "1", "--no_pbar", "--no_check"]
    assert main(["plan_and_preprocess", *words]) == 0
    return truth


def trained_on_discs(root: Path, number: int, run: str, trainer: type[Any], monkeypatch: Any, **knobs: Any) -> Any:
    monkeypatch.setenv("nnUNet_results", str(root / run))
    place = root / "preprocessed" / f"Dataset{number}_Discs"
    plans = json.loads((place / "LitePlans.json").read_text())
    adam = {"optimizer": "AdamW", "initial_lr": 3e-3, "seed": 0, "num_val_iterations_per_epoch": 2}
    plans["nnunet_ext"] = adam | knobs
    plans["continue_training"] = False
    made = trainer(plans, "2d", 0, json.loads((place / "dataset.json").read_text()), torch.device("cpu"))
    made.run_training()
    return made


def dice(trainer: Any, truth: dict[str, Any]) -> dict[str, float]:
    """Of each class in the validation cases, all their slices together."""
    folder = trainer.preprocessed_dataset_folder
    cases = trainer.do_split()[1]
    data = infer_dataset_class(folder)(folder, cases)
    predictions = []
    for case in cases:
        slices = torch.from_numpy(np.asarray(data.load_case(case)[0][:])).transpose(0, 1).float()
        with torch.no_grad():
            predictions.append(trainer.network.eval()(slices)[0].argmax(1).numpy())
    found, true = np.concatenate(predictions), np.concatenate([truth[case] for case in cases])
    return {
        name: float(2 * ((found == value) & (true == value)).sum() / ((found == value).sum() + (true == value).sum()))
        for value, name in enumerate(NAMES, 1)
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # stock Dice of what does not occur
def test_a_class_is_added_and_the_others_are_kept(half_labelled: Make, monkeypatch: Any) -> None:
    """The source has learned a and b; in the data only c was annotated, and a and b are there, too."""
    half_labelled(NNUNetBaselineTrainer, "2d")  # nnU-Net's folders
    root = Path(os.environ["nnUNet_raw"]).parent
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # stock planning needs one
    write_discs(root, 701, ("a", "b"), (1, 2))
    truth = write_discs(root, 702, NAMES, (3,))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    length = {"num_epochs": 2, "num_iterations_per_epoch": 60}
    source = trained_on_discs(root, 701, "source", NNUNetBaselineTrainer, monkeypatch, **length)
    length["init_from"] = str(fold(source) / "checkpoint_final.pth")
    kept = trained_on_discs(root, 702, "kept", FineTuneTrainer, monkeypatch, **length, **KEEP)
    lost = trained_on_discs(root, 702, "lost", FineTuneTrainer, monkeypatch, **length)
    source.do_split, source.preprocessed_dataset_folder = kept.do_split, kept.preprocessed_dataset_folder
    before, with_knob, without = (dice(trainer, truth) for trainer in (source, kept, lost))
    assert kept.kept_classes == ("a", "b")
    for name in ("a", "b"):
        assert before[name] > 0.8, before
        assert with_knob[name] >= before[name] - 0.02, (before, with_knob)
        assert without[name] <= before[name] - 0.3, (before, without)
    assert min(with_knob["c"], without["c"]) > 0.7, (with_knob, without)
