"""Where the validation cases come from, for models of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_ext.prediction import Predictor
from nnunet_ext.shifts.held_out import HeldOut
from nnunet_ext.shifts.shift import Shift
from nnunet_ext.shifts.shift_test import shift_test

VIEW = "CollectionLitePlans_Dataset900_Shared__3d_fullres"


@pytest.mark.parametrize(
    ("trainer", "dataset", "channels", "classes"),
    [
        ("UniSegTrainer", "Dataset904_Pair", 2, {"organ", "core"}),
        ("DoDNetTrainer", "Dataset902_Nested", 1, {"whole", "core"}),
        ("MultiHeadTrainer", "Dataset903_Slab", 1, {"organ", "core"}),
    ],
)
def test_views_of_a_collection(untrained: Path, trainer: str, dataset: str, channels: int, classes: set[str]) -> None:
    """Labels, two channels, regions, an ignore label; nnU-Net's default folds, as no splits_final.json is there."""
    held_out = HeldOut.find(untrained / "results" / dataset / f"{trainer}__{VIEW}")
    cases = [case.name for case in HeldOut.find(untrained / "results" / dataset / f"{trainer}__{VIEW}").dataset.cases()]
    assert {fold: [case.name for case in own] for fold, own in held_out.folds.items()} == {
        "0": cases[:1],
        "1": cases[1:],
    }
    read = held_out.read(held_out.folds["0"][0])
    assert read.image.shape == (channels, *read.labels.shape)

    def predictor_of(fold: str) -> Predictor:
        return Predictor(held_out.model, [fold], device="cpu", mirroring=False)

    found = dict(shift_test(held_out, predictor_of, shifts=[Shift("inversion", 1.0)], show_progress=False))
    assert list(found) == cases
    for own in found.values():
        assert list(own) == ["unshifted", "inversion 1"]
        assert {name for dices in own.values() for name in dices} <= classes | set(
            held_out.dataset.description["labels"]
        )
        assert any(dice is not None for dice in own["unshifted"].values())
