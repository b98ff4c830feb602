"""Adapted predictions of whole images: repeatable, reset after each case, plain where they agree too little."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray
from small_model import phantom, write_image, write_small_model
from torch import nn

from nnunet_ext.adaptation import adapted_stages
from nnunet_ext.adaptation.adapted_predictor import AdaptedPredictor
from nnunet_ext.errors import UserError
from nnunet_ext.prediction import Predictor
from nnunet_ext.prediction.trained_model import TrainedModel

SPACING = (2.0, 1.0, 1.0)
REGIONS: dict[str, Any] = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "order": [1, 2]}
TWO: dict[str, Any] = {"channels": 2, "normalization_schemes": ["ZScoreNormalization"] * 2}
TWO |= {"use_mask_for_norm": [False] * 2}
FLAT: dict[str, Any] = {"patch_size": [16, 12], "spacing": [1.0, 1.0]}


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    return functools.partial(write_small_model, tmp_path / "results")


FAST = 0.5  # a rate with which labels change


def image(seed: int = 0) -> NDArray[np.float32]:
    return phantom((8, 16, 12), seed=seed)


def weights(predictor: Predictor) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in predictor.model.network.state_dict().items()}


@pytest.mark.parametrize(
    "options",
    [{}, {"folds": (0, 1)}, {"axes": None}, REGIONS, FLAT, TWO],
    ids=["plain", "folds", "no mirroring", "regions", "2d", "channels"],
)
def test_labels_and_weights(write_model: Callable[..., Path], options: dict[str, Any]) -> None:
    model = write_model(**options)
    volume = np.concatenate([image(number) for number in range(options.get("channels", 1))])
    plain = Predictor(model, device="cpu").predict_array(volume, SPACING)
    always = AdaptedPredictor(model, device="cpu", steps=2, rate=FAST, gate=0)
    before, folds = weights(always), [dict(fold) for fold in always.model.parameters]
    adapted = always.predict_array(volume, SPACING)
    assert options is REGIONS or not np.array_equal(adapted, plain)  # random sigmoids are all above 0.5
    after = weights(always)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert len(always.model.parameters) == len(folds)
    for one, other in zip(folds, always.model.parameters, strict=True):
        assert all(value is other[name] for name, value in one.items())
    np.testing.assert_array_equal(always.predict_array(volume, SPACING), adapted)
    never = AdaptedPredictor(model, device="cpu", steps=2, rate=FAST, gate=2)
    np.testing.assert_array_equal(never.predict_array(volume, SPACING), plain)


@pytest.mark.parametrize(
    ("trainer", "dataset"), [("UniSegTrainer", "Dataset902_Nested"), ("DoDNetTrainer", "Dataset901_Organ")]
)
def test_a_view_of_a_collection(untrained: Path, trainer: str, dataset: str) -> None:
    """Regions, and labels; norms of other tasks' heads have no gradient."""
    model = untrained / "results" / dataset / f"{trainer}__CollectionLitePlans_Dataset900_Shared__3d_fullres"
    options: dict[str, Any] = {"folds": ["0"], "device": "cpu", "mirroring": False}
    plain = Predictor(model, **options).predict_array(image(), SPACING)
    always = AdaptedPredictor(model, **options, steps=1, gate=0)
    before = weights(always)
    assert always.predict_array(image(), SPACING).shape == plain.shape
    after = weights(always)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    never = AdaptedPredictor(model, **options, steps=1, gate=2)
    np.testing.assert_array_equal(never.predict_array(image(), SPACING), plain)


def test_without_mirroring(write_model: Callable[..., Path]) -> None:
    model = write_model()
    plain = Predictor(model, device="cpu", mirroring=False).predict_array(image(), SPACING)
    never = AdaptedPredictor(model, device="cpu", mirroring=False, steps=1, rate=FAST, gate=2)
    np.testing.assert_array_equal(never.predict_array(image(), SPACING), plain)


def test_views_are_those_of_the_training(write_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a prediction without mirroring."""
    model, views = write_model(), []
    monkeypatch.setattr(adapted_stages, "adapt", lambda *given, **_: views.append(given[3]))
    for mirroring in (True, False):
        AdaptedPredictor(model, device="cpu", mirroring=mirroring).predict_array(image(), SPACING)
    assert views[0] == views[1] != []


def test_the_outside_is_that_of_the_training(write_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[Any] = []
    monkeypatch.setattr(adapted_stages, "adapt", lambda *_, **given: masked.append(given["masked"]))
    model = write_model(use_mask_for_norm=[True])
    AdaptedPredictor(model, device="cpu").predict_array(image(), SPACING)
    assert masked == [[True]]


@pytest.mark.parametrize("options", [{}, REGIONS], ids=["labels", "regions"])
def test_patches_are_drawn_around_the_plain_labels(
    write_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Also if the GPU was full, and the case is predicted once more."""
    foregrounds: list[NDArray[np.bool_]] = []
    draw, export, calls = adapted_stages.foreground_patches, adapted_stages.label_map, []

    def drawn(volume: torch.Tensor, foreground: NDArray[np.bool_], *given: Any) -> Any:
        foregrounds.append(foreground)
        return draw(volume, foreground, *given)

    def exported(slabs: Any, *given: Any) -> Any:
        labels = export(slabs, *given)
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return labels

    monkeypatch.setattr(adapted_stages, "foreground_patches", drawn)
    monkeypatch.setattr(adapted_stages, "label_map", exported)
    labels = AdaptedPredictor(write_model(**options), device="cpu", steps=1, gate=2).predict_array(image(), SPACING)
    np.testing.assert_array_equal(foregrounds[0], labels > 0)


def test_cases_do_not_depend_on_each_other(write_model: Callable[..., Path]) -> None:
    model = write_model()
    predictor = AdaptedPredictor(model, device="cpu", steps=2, rate=FAST, gate=0)
    first = [predictor.predict_array(image(number), SPACING) for number in (0, 1)]
    again = [predictor.predict_array(image(number), SPACING) for number in (1, 0)]
    np.testing.assert_array_equal(first[0], again[1])
    np.testing.assert_array_equal(first[1], again[0])


@pytest.mark.parametrize("fails", ["adapt", "label_map"])
def test_the_model_is_reset_if_a_case_fails(
    write_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Also where the adapted prediction itself fails."""
    predictor = AdaptedPredictor(write_model(), device="cpu", steps=1, rate=FAST, gate=0)
    before, called = weights(predictor), []
    real = getattr(adapted_stages, fails)

    def failing(*arguments: Any, **options: Any) -> Any:
        called.append(1)
        if fails == "adapt" or len(called) == 2:
            raise RuntimeError("broken")
        return real(*arguments, **options)

    monkeypatch.setattr(adapted_stages, fails, failing)
    with pytest.raises(RuntimeError, match="broken"):
        predictor.predict_array(image(), SPACING)
    after = weights(predictor)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_full_gpu(write_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    predictor = AdaptedPredictor(write_model(), device="cpu")
    monkeypatch.setattr(adapted_stages, "adapt", full)
    with pytest.raises(UserError, match="--adapt grata: expected memory on the GPU for gradients of a patch"):
        predictor.predict_array(image(), SPACING)


def test_only_norms_are_borrowed(write_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each fold, the adapted prediction has other weights and biases in instance norms, and nothing else."""
    predictor = AdaptedPredictor(write_model(folds=(0, 1)), device="cpu", steps=1, rate=FAST, gate=0)
    network = predictor.model.network
    named = network.named_modules(remove_duplicate=False)
    norms = {
        f"{name}.{part}" for name, each in named if isinstance(each, nn.InstanceNorm3d) for part in ("weight", "bias")
    }
    used: list[dict[str, torch.Tensor]] = []
    use = TrainedModel.use
    monkeypatch.setattr(TrainedModel, "use", lambda self, given: used.append(given) or use(self, given))
    plain = list(predictor.model.parameters)
    predictor.predict_array(image(), SPACING)
    for own in plain:
        changed = [{name for name in own if not torch.equal(own[name], given[name])} for given in used]
        assert set() in changed  # the plain prediction
        assert any(names and names <= norms for names in changed)


def test_a_folder_says_what_was_used(
    write_model: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_image(tmp_path / "images" / "a_0000.nii.gz", image()[0], SPACING)
    model = write_model()
    caplog.set_level("INFO", "nnunet_ext")
    for gate, used in ((0.0, "adapted"), (2.0, "plain, agreement below 2")):
        predictor = AdaptedPredictor(model, device="cpu", steps=1, gate=gate)
        (result,) = predictor.predict_folder(tmp_path / "images", tmp_path / "out", show_progress=False)
        assert result.problem is None
        assert result.facts["used"] == used
        assert 0.9 < float(result.facts["agreement"]) <= 1
        assert float(result.facts["time factor"]) > 1
        assert f"case a: used {used}, agreement " in caplog.text


def test_a_network_without_instance_norms(write_model: Callable[..., Path]) -> None:
    model = write_model()
    file = model / "plans.json"
    file.write_text(file.read_text().replace("instancenorm.InstanceNorm3d", "batchnorm.BatchNorm3d"))
    manager = PlansManager(json.loads(file.read_text()))
    network = nnUNetTrainer.build_network_architecture(
        manager, manager.get_configuration("3d_fullres"), 1, 4, enable_deep_supervision=False
    )
    checkpoint = torch.load(model / "fold_0" / "checkpoint_final.pth", weights_only=False)
    torch.save(checkpoint | {"network_weights": network.state_dict()}, model / "fold_0" / "checkpoint_final.pth")
    Predictor(model, device="cpu")
    with pytest.raises(UserError, match=r"expected a network with instance norms .* found BatchNorm3d"):
        AdaptedPredictor(model, device="cpu")
