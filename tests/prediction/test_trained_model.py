"""Models as nnU-Net's predictor loads them."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import pytest
import torch
from small_model import phantom, stock

from nnunet_ext import sockets
from nnunet_ext.errors import UserError
from nnunet_ext.prediction import Predictor
from nnunet_ext.prediction.sliding_window import SlidingWindow
from nnunet_ext.prediction.trained_model import TrainedModel, trained_folds

OLD = """
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans


class OldTrainer(nnUNetTrainer):
    @staticmethod
    def build_network_architecture(name, kwargs, imports, channels, heads, enable_deep_supervision=True):
        return get_network_from_plans(
            name, kwargs, imports, channels, heads, allow_init=True, deep_supervision=enable_deep_supervision
        )
"""
PACKAGE = "dynamic_network_architectures.architectures"
HEAD = "decoder.seg_layers.1.weight"


def rename(model, name):
    for file in model.glob("fold_*/checkpoint_final.pth"):
        checkpoint = torch.load(file, weights_only=False)
        checkpoint["trainer_name"] = name
        torch.save(checkpoint, file)


@pytest.mark.parametrize(
    ("trained", "wanted", "taken"),
    [
        ((0, 2, 10, "all"), None, [0, 2, 1]),  # "all" is none of the folds; nnU-Net sorts by name: 0, 10, 2
        ((0, 1), (1, 0), [1, 0]),
        ((0, 1, "all"), ("all",), [2]),
        ((0, 1), ("1",), [1]),
        (("all",), None, [0]),
    ],
    ids=str,
)
def test_folds(write_model, trained, wanted, taken):
    """The seeds of the folds' weights are 0, 1, 2, ... as trained."""
    model = write_model(folds=trained)
    files = [model / f"fold_{fold}" / "checkpoint_final.pth" for fold in trained]
    weights = [torch.load(file, weights_only=False)["network_weights"] for file in files]
    if wanted is None and taken == [0, 2, 1]:
        theirs = stock(model, None).list_of_parameters
        for fold, place in zip(theirs, taken, strict=True):
            assert all(torch.equal(value, weights[place][key]) for key, value in fold.items())
    found = TrainedModel.load(model, wanted).parameters
    assert len(found) == len(taken)
    for fold, place in zip(found, taken, strict=True):
        assert all(torch.equal(value, weights[place][key]) for key, value in fold.items())


@pytest.mark.parametrize(
    ("trained", "expected"), [((0, 2, 10, "all"), ["0", "10", "2"]), (("all",), ["all"]), ((), [])], ids=str
)
def test_folders_that_are_no_folds(write_model, trained, expected):
    model = write_model(folds=trained)
    for name in ("fold_0_backup", "fold_x", "fold_", "fold_all_old", "fold_-1", "fold_\u0663"):
        (model / name).mkdir()
        (model / name / "checkpoint_final.pth").write_bytes(b"")
    (model / "fold_3" / "checkpoint_final.pth").mkdir(parents=True)
    assert trained_folds(model, "checkpoint_final.pth") == expected
    assert trained_folds(model, "checkpoint_best.pth") == []
    if expected:
        assert len(TrainedModel.load(model).parameters) == len(expected)
    with pytest.raises(UserError, match="expected the checkpoint of fold 0_backup, found no file"):
        TrainedModel.load(model, ("0_backup",))


def test_a_checkpoint_that_is_written_anew(write_model):
    """As nnU-Net's trainers do it: in the same file."""
    model = write_model(folds=(0, 1))
    files = [model / f"fold_{fold}" / "checkpoint_final.pth" for fold in (0, 1)]
    expected = [torch.load(file, weights_only=False)["network_weights"] for file in files]
    loaded = TrainedModel.load(model)
    for file in files:
        with file.open("r+b") as stream:
            stream.write(bytes(file.stat().st_size))
    for fold, weights in zip(loaded.parameters, expected, strict=True):
        assert list(fold) == list(weights)
        assert all(torch.equal(value, weights[name]) for name, value in fold.items())


def change_weights(model, fold, change):
    file = model / f"fold_{fold}" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    change(checkpoint["network_weights"])
    torch.save(checkpoint, file)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda weights: weights.update({HEAD: torch.zeros(5, 4, 1, 1, 1)}),
            rf"{HEAD}' of shape \(5, 4, 1, 1, 1\) instead of \(4, ",
        ),
        (lambda weights: weights.pop(HEAD), f"none of the name '{HEAD}'"),
        (lambda weights: weights.update(more=torch.zeros(1)), "'more', which is one too many"),
    ],
    ids=["shape", "missing", "more"],
)
def test_weights_that_do_not_fit(write_model, change, text):
    model = write_model(folds=(0, 1))
    change_weights(model, 1, change)
    with pytest.raises(
        UserError, match=rf"fold_1/checkpoint_final.pth: expected weights of the .*{text}.* Restore"
    ) as caught:
        TrainedModel.load(model)
    assert "\n" not in str(caught.value)
    assert len(TrainedModel.load(model, (0,)).parameters) == 1


def test_labels_that_the_weights_do_not_have(write_model):
    model = write_model()
    description = json.loads((model / "dataset.json").read_text())
    description["labels"]["more"] = 4
    (model / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match=r"seg_layers.0.weight' of shape \(4, .*\) instead of \(5, "):
        TrainedModel.load(model)


def test_the_network_has_the_first_folds_weights(write_model):
    loaded = TrainedModel.load(write_model(folds=(0, 1, 2)), (1, 0, 2))
    for name, value in loaded.network.state_dict().items():
        assert torch.equal(value, loaded.parameters[0][name])


def test_another_checkpoint(write_model):
    model = write_model(folds=(0, 1))
    shutil.copy(model / "fold_1" / "checkpoint_final.pth", model / "fold_1" / "checkpoint_best.pth")
    assert len(TrainedModel.load(model, None, "checkpoint_best.pth").parameters) == 1


def test_a_trainer_with_the_old_signature_in_a_folder_of_its_own(write_model, tmp_path, monkeypatch):
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "OldTrainer.py").write_text(OLD)
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "trainers"))
    model = write_model()
    rename(model, "OldTrainer")
    image = torch.from_numpy(phantom())
    expected = stock(model).predict_logits_from_preprocessed_data(image)
    window = SlidingWindow(TrainedModel.load(model), torch.device("cpu"))
    assert torch.equal(torch.cat([slab.clone() for slab in window.slabs(image)], 1), expected)


def test_our_trainers_are_found_without_a_variable(write_model, monkeypatch):
    model = write_model()
    rename(model, "NNUNetBaselineTrainer")
    monkeypatch.delenv(sockets.VARIABLE, raising=False)
    assert TrainedModel.load(model).channels == 1


def test_compiled_as_nnunet_compiles(write_model, monkeypatch):
    model = write_model(folds=(0, 1), patch_size=[16, 12], spacing=[1.0, 1.0])
    image = torch.from_numpy(phantom((2, 16, 12)))
    expected = stock(model, (0, 1)).predict_logits_from_preprocessed_data(image)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    monkeypatch.setenv("nnUNet_compile", "True")
    loaded = TrainedModel.load(model, (0, 1))
    assert type(loaded.network).__name__ == "OptimizedModule"
    window = SlidingWindow(loaded, torch.device("cpu"))
    assert torch.equal(torch.cat([slab.clone() for slab in window.slabs(image)], 1), expected)


@pytest.mark.parametrize(
    ("change", "folds", "text"),
    [
        (lambda model: (model / "plans.json").unlink(), None, "plans.json: expected that of a trained model, found no"),
        (
            lambda model: (model / "dataset.json").unlink(),
            None,
            "dataset.json: expected that of a trained model, found",
        ),
        (lambda model: None, (3,), r"fold_3/checkpoint_final.pth: expected the checkpoint of fold 3, .* Trained: 0"),
        (lambda model: None, (), "expected at least one fold, got none"),
        (lambda model: shutil.rmtree(model / "fold_0"), None, "expected a fold with checkpoint_final.pth, found none"),
        (
            lambda model: rename(model, "LostTrainer"),
            None,
            "trainer 'LostTrainer' of the checkpoint: expected nnU-Net to",
        ),
        (
            lambda model: (model / "fold_0" / "checkpoint_final.pth").write_bytes(b"cut"),
            None,
            "expected an intact checkpoint, but it cannot be read",
        ),
        (
            lambda model: (model / "dataset.json").write_text(json.dumps({"tasks": {}})),
            None,
            "expected the model of one dataset, found that of a collection. Give a task's view",
        ),
    ],
)
def test_what_is_wrong(write_model, change, folds, text):
    model = write_model()
    change(model)
    with pytest.raises(UserError, match=text):
        TrainedModel.load(model, folds)


def test_no_model_at_all(tmp_path):
    with pytest.raises(UserError, match=r"plans.json: expected that of a trained model, found no file\. Give the"):
        TrainedModel.load(tmp_path / "nowhere")


def test_trust(write_model, tmp_path):
    """Without it, nothing that is asked for runs; with it, everything does."""
    model = write_model()
    file = model / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(file, weights_only=False) | {"odd": Path("a")}, file)
    with pytest.raises(UserError, match=r"checkpoint_final\.pth: expected only weights, .* asks for pathlib"):
        TrainedModel.load(model)
    assert len(TrainedModel.load(model, trust=True).parameters) == 1
    assert len(Predictor(model, device="cpu", trust=True).model.parameters) == 1
    plans = json.loads((model / "plans.json").read_text())
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["arch_kwargs"] |= {"nonlin": "functools.partial", "nonlin_kwargs": {"func": "a"}}
    (model / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(UserError, match=r"got TypeError: .*partial"):  # nnU-Net has called it
        TrainedModel.load(model, trust=True)


def of_plans(change):
    """A change of the configuration in plans.json."""

    def apply(model):
        plans = json.loads((model / "plans.json").read_text())
        change(plans["configurations"]["3d_fullres"])
        (model / "plans.json").write_text(json.dumps(plans))

    return apply


def of_checkpoint(**entries):
    def apply(model):
        file = model / "fold_0" / "checkpoint_final.pth"
        torch.save(torch.load(file, weights_only=False) | entries, file)

    return apply


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (of_checkpoint(init_args={"configuration": "2d"}), r"a configuration of .* \(3d_fullres\), found '2d'"),
        (of_checkpoint(init_args=3), "the trainer's arguments by name for 'init_args'"),
        (of_checkpoint(inference_allowed_mirroring_axes=1), "axes or None for"),
        (of_plans(lambda planned: planned.update(architecture=[])), "found list for architecture"),
        (of_plans(lambda planned: planned["architecture"].update(arch_kwargs=[1])), "found list for arch_kwargs"),
        (of_plans(lambda planned: planned["architecture"].pop("_kw_requires_import")), "can build .* got KeyError: "),
        (
            of_plans(lambda planned: planned["architecture"]["arch_kwargs"].pop("n_stages")),
            "can build .* got TypeError",
        ),
        (
            of_plans(lambda planned: planned["architecture"].update(network_class_name=f"{PACKAGE}.elsewhere.Net")),
            "expected the network class of its plans, got .*Install the package",
        ),
    ],
)
def test_odd_but_readable_files(write_model, change, text):
    """One line each."""
    model = write_model()
    change(model)
    with pytest.raises(UserError, match=text) as caught:
        TrainedModel.load(model)
    assert "\n" not in str(caught.value)
