"""The labels of nnUNetv2_predict --save_probabilities and nnUNetv2_ensemble, but for ties."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.ensembling.ensemble import average_probabilities, merge_files
from numpy.typing import NDArray
from small_model import phantom, stock, write_image

from nnunet_ext.errors import UserError
from nnunet_ext.prediction.ensemble.ensemble_predictor import EnsemblePredictor
from nnunet_ext.prediction.predictor import Predictor

ISOTROPIC, THICK = (1.5, 1.5, 1.5), (5.0, 0.8, 0.8)
REGIONS = {"background": 0, "organ": [1, 2, 3], "wall": [2, 3], "tumour": [3]}
WIDE = {"patch_size": [8, 12, 16], "spacing": [1.6, 1.2, 1.2]}
FLAT = {"patch_size": [16, 12], "spacing": [1.0, 1.1]}
Models = Callable[..., list[Path]]


def nnunet(models: Sequence[Path], folder: Path, **options: Any) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """The label map (D, H, W) of nnU-Net's ensemble, and the probabilities (heads, D, H, W) that it averages."""
    files = []
    for number, model in enumerate(models):
        out = folder / f"stock{number}"
        out.mkdir()
        predictor = stock(model, None, **options)
        predictor.predict_from_files_sequential(
            [[str(folder / "images" / "case_0000.nii.gz")]], [str(out / "case")], save_probabilities=True
        )
        files.append(str(out / "case.npz"))
    last = predictor
    reader = last.plans_manager.image_reader_writer_class()
    merge_files(files, str(folder / "merged"), ".nii.gz", reader, last.label_manager)
    return labels_of(folder / "merged.nii.gz"), average_probabilities(files)


def labels_of(file: Path) -> NDArray[Any]:
    return np.asarray(nibabel.load(file).dataobj).transpose(2, 1, 0)


def assert_equal_but_ties(
    found: NDArray[Any], expected: NDArray[Any], probabilities: NDArray[np.float32], order: Sequence[int] | None
) -> None:
    """Logits are rounded to fp16, which moves a probability by up to 0.4 % of a logit near 16."""
    assert found.shape == expected.shape
    assert len(np.unique(expected)) > 1, "a label map of one label shows nothing"
    differ = found != expected
    for place in zip(*np.nonzero(differ), strict=True):
        there = probabilities[(slice(None), *place)]
        gap = abs(there[found[place]] - there[expected[place]]) if order is None else np.abs(there - 0.5).min()
        assert gap < 0.01, f"{place}: {found[place]} instead of {expected[place]}, of {there}"
    assert differ.mean() < 1e-3


@pytest.mark.parametrize(
    ("shape", "spacing", "settings", "common"),
    [
        ((14, 30, 26), (2.0, 1.0, 1.0), [{}, {}], {}),  # the same plans, nothing to resample
        ((14, 22, 20), ISOTROPIC, [{}, WIDE, {"folds": (0, 1)}], {}),
        ((9, 28, 24), THICK, [{}, WIDE | FLAT], {}),
        ((26, 9, 22), (0.8, 5.0, 0.9), [{"transpose": (1, 0, 2)}, {"transpose": (2, 0, 1)} | WIDE, {}], {}),
        ((14, 22, 20), ISOTROPIC, [{}, WIDE], {"labels": REGIONS, "order": [1, 2, 3]}),
        ((14, 22, 20), ISOTROPIC, [{}, WIDE], {"labels": {"background": 0, "a": 1, "ignore": 2}}),
    ],
    ids=["same", "plans", "2d", "transposed", "regions", "ignore"],
)
def test_the_labels_of_nnunet(write_models: Models, tmp_path: Path, shape, spacing, settings, common) -> None:
    settings = [{"seed": number} | each for number, each in enumerate(settings)]
    seeds = [each.pop("seed") for each in settings]
    models = write_models(*settings, **common)
    for model, seed in zip(models, seeds, strict=True):
        shake(model, seed)
    write_image(tmp_path / "images" / "case_0000.nii.gz", phantom(shape, border=2)[0], spacing)
    expected, probabilities = nnunet(models, tmp_path)
    predictor = EnsemblePredictor(models, device="cpu")
    predictor.predict_files([tmp_path / "images" / "case_0000.nii.gz"], tmp_path / "ours.nii.gz")
    found = labels_of(tmp_path / "ours.nii.gz")
    assert_equal_but_ties(found, expected, probabilities, common.get("order"))
    alone = Predictor(models[0], device="cpu").predict_array(phantom(shape, border=2), spacing)
    assert (found != alone).any(), "the other models changed nothing"


def shake(model: Path, seed: int) -> None:
    """Give models of the same plans other weights."""
    for file in model.glob("fold_*/checkpoint_final.pth"):
        checkpoint = torch.load(file, weights_only=False)
        generator = torch.Generator().manual_seed(seed)
        for name, value in checkpoint["network_weights"].items():
            if ".seg_layers." in name and name.endswith("weight"):
                value.copy_(value[torch.randperm(len(value), generator=generator)] if seed else value)
        torch.save(checkpoint, file)


def test_two_trainers_and_options(write_models: Models, tmp_path: Path) -> None:
    """The second is trained without mirroring, and predicted without it."""
    models = write_models({}, WIDE | {"axes": None})
    renamed = models[1].with_name("nnUNetTrainerNoMirroring__otherPlans__3d_fullres")
    models[1].rename(renamed)
    file = renamed / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(file, weights_only=False) | {"trainer_name": "nnUNetTrainerNoMirroring"}, file)
    write_image(tmp_path / "images" / "case_0000.nii.gz", phantom()[0], ISOTROPIC)
    both = [models[0], renamed]
    expected, probabilities = nnunet(both, tmp_path, tile_step_size=0.7)
    predictor = EnsemblePredictor(both, (0,), device="cpu", step_size=0.7)
    found = predictor.predict_array(phantom(), ISOTROPIC)
    assert_equal_but_ties(found, expected, probabilities, None)


def test_a_folder(write_models: Models, tmp_path: Path) -> None:
    models = write_models({}, WIDE)
    for name in "ab":
        write_image(tmp_path / "images" / f"{name}_0000.nii.gz", phantom((9, 16, 12), seed=ord(name))[0], ISOTROPIC)
    predictor = EnsemblePredictor(models, device="cpu")
    results = predictor.predict_folder(tmp_path / "images", tmp_path / "out", show_progress=False)
    assert [(result.name, result.problem) for result in results] == [("a", None), ("b", None)]
    found = labels_of(tmp_path / "out" / "a.nii.gz")
    image = phantom((9, 16, 12), seed=ord("a"))
    np.testing.assert_array_equal(found, predictor.predict_array(image, ISOTROPIC))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {"labels": {"background": 0, "organ": 1, "wall": 3, "tumour": 2}}, "expected the labels of"),
        ({}, {"channels": 2}, "expected the channels of"),
        ({}, {"reader": "NibabelIO"}, "expected the reader of .*, SimpleITKIO, found NibabelIO"),
        ({}, {"ending": ".nrrd"}, "expected the file ending of"),
        ({"labels": REGIONS, "order": [1, 2, 3]}, {"labels": REGIONS, "order": [1, 3, 2]}, "regions_class_order"),
        (
            {"labels": REGIONS, "order": [1, 2, 3]},
            {"labels": dict(sorted(REGIONS.items())), "order": [1, 2, 3]},
            "expected the labels of",
        ),
    ],
    ids=str,
)
def test_models_that_differ(write_models: Models, first, second, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        EnsemblePredictor(write_models(first, second), device="cpu")


def test_labels_in_another_order_are_the_same(write_models: Models) -> None:
    models = write_models({}, {"labels": {"tumour": 3, "background": 0, "wall": 2, "organ": 1}})
    EnsemblePredictor(models, device="cpu")
    with pytest.raises(UserError, match="expected two or more, got 1"):
        EnsemblePredictor(models[:1], device="cpu")


def test_another_crop(write_models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose preprocessing crops otherwise has no probabilities of the same voxels."""
    predictor = EnsemblePredictor(write_models({}, WIDE), device="cpu")
    case = predictor._stages.prepare_array(phantom(), ISOTROPIC)
    case.others[0].properties["bbox_used_for_cropping"] = [[0, 13], [0, 30], [0, 26]]
    with pytest.raises(UserError, match="expected all models to crop it to"):
        predictor._stages.label(case)


def test_windows_are_added_up(write_models: Models) -> None:
    predictor = EnsemblePredictor(write_models({}, WIDE), device="cpu")
    seen: list[tuple[int, int]] = []
    case = predictor._stages.prepare_array(phantom(), ISOTROPIC)
    predictor._stages.label(case, lambda done, windows: seen.append((done, windows)))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))


def test_what_is_not_a_model(tmp_path: Path, write_models: Models) -> None:
    (model,) = write_models({})
    (tmp_path / "dataset.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match=r"plans\.json: expected that of a trained model"):
        EnsemblePredictor([model, tmp_path], device="cpu")
