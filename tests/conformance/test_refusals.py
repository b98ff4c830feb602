"""What cannot work says so before training starts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from children import load
from stock import (
    COLLECTION_TRAINERS,
    PLANS,
    cheapest,
    folder,
    initialized,
    prepare_for,
    read_plans,
    run_folder,
    train,
    variant,
    write_plans,
)

from nnunet_ext.base.checkpoints import read_checkpoint
from nnunet_ext.errors import UserError

pytestmark = pytest.mark.slow


@pytest.mark.row(
    "a patch so small that one deep-supervision scale remains (stock nnU-Net trains on NaN)", pretraining=True
)
def test_small_patch(trainer: str, refuses: Any) -> None:
    """Methods that replace nnU-Net's deep supervision train on it."""
    prepare_for(trainer, "too small")
    fold = run_folder(trainer, "too small", "3d_fullres") / "fold_0"
    if trainer in ("LeFeDTrainer", "MCNetPlusTrainer"):
        train(trainer, "too small", "3d_fullres")
        logged = read_checkpoint(fold / "checkpoint_final.pth")["logging"]
        assert np.isfinite([*logged["train_losses"], *logged["val_losses"]]).all()
        return
    with refuses(UserError, match="expected at least 3 network stages, got 2"):
        train(trainer, "too small", "3d_fullres")
    assert not list(fold.glob("*.pth"))


@pytest.mark.row("unknown knob in the plans", pretraining=True)
def test_unknown_knob(trainer: str, refuses: Any) -> None:
    plans = variant(trainer, "plain", "LiteUnknown", num_epoch=3)
    with refuses(UserError, match="unknown knob 'num_epoch'. Did you mean 'num_epochs'?"):
        train(trainer, "plain", cheapest(trainer), plans=plans)


@pytest.mark.row("illegal value of a knob", pretraining=True)
def test_illegal_value(trainer: str, refuses: Any) -> None:
    plans = variant(trainer, "plain", "LiteIllegal", initial_lr=-1)
    with refuses(UserError, match="knob 'initial_lr' expects a number > 0, got -1"):
        train(trainer, "plain", cheapest(trainer), plans=plans)


@pytest.mark.row("plans of a newer nnunet_ext", pretraining=True)
def test_newer_plans(trainer: str, refuses: Any) -> None:
    plans = read_plans(trainer, "plain")
    plans["nnunet_ext"]["format"] = 99
    with refuses(UserError, match="come from a newer version"):
        train(trainer, "plain", cheapest(trainer), plans=write_plans(trainer, "plain", plans, "LiteNewer"))


@pytest.mark.row("plans without any knob train as stock (nothing is refused)", pretraining=True)
def test_no_knobs(trainer: str) -> None:
    plans = read_plans(trainer, "plain")
    del plans["nnunet_ext"]
    ready, _ = initialized(trainer, "plain", cheapest(trainer), write_plans(trainer, "plain", plans, "LiteBare"))
    steps = 2 * 50 if trainer in COLLECTION_TRAINERS else 250
    recipe = load(trainer).recipe
    expected = recipe.get("num_epochs", 1000), steps, recipe.get("initial_lr", 1e-2)
    assert (ready.num_epochs, ready.num_iterations_per_epoch, ready.initial_lr) == expected


@pytest.mark.row(
    "unlabelled images that are not preprocessed", of="unlabelled images", why="takes labelled images only"
)
def test_no_unlabelled_images(trainer: str, refuses: Any) -> None:
    prepare_for(trainer, "plain")
    place = folder("nnUNet_preprocessed", "plain") / f"{PLANS}_{cheapest(trainer)}_unlabelled"
    away = place.rename(place.with_name("away"))
    name = variant(trainer, "plain", "LiteNoUnlabelled")
    command = f"Run nnunet_ext preprocess_unlabelled -d 801 -p {name} -c {cheapest(trainer)}"
    try:
        with refuses(UserError, match=f"expected preprocessed unlabelled images of plans '{name}'.*{command}"):
            train(trainer, "plain", cheapest(trainer), plans=name)
    finally:
        away.rename(place)
    run = run_folder(trainer, "plain", cheapest(trainer), name)
    assert not [file for file in run.rglob("*") if file.is_file() and not file.name.startswith("training_log")]


@pytest.mark.row(
    "unlabelled images preprocessed by earlier plans", of="unlabelled images", why="takes labelled images only"
)
def test_stale_unlabelled_images(trainer: str, refuses: Any) -> None:
    plans = read_plans(trainer, "plain")
    plans["configurations"][cheapest(trainer)]["resampling_fn_data_kwargs"]["order"] = 1
    name = write_plans(trainer, "plain", plans, "LiteStale")
    with refuses(UserError, match="found those of earlier plans or labels"):
        train(trainer, "plain", cheapest(trainer), plans=name)
