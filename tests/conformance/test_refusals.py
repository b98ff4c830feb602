"""What cannot work says so before training starts."""

from __future__ import annotations

from typing import Any

import pytest
from stock import initialized, model_folder, prepare, read_plans, train, write_plans

from nnunet_ext.errors import UserError

pytestmark = pytest.mark.slow


@pytest.mark.row("a patch so small that one deep-supervision scale remains (stock nnU-Net trains on NaN)")
def test_small_patch(trainer: str, refuses: Any) -> None:
    prepare("too small")
    with refuses(UserError, match="expected at least 3 network stages, got 2"):
        train(trainer, "too small", "3d_fullres")
    assert not list(model_folder(trainer, "too small", "3d_fullres").glob("fold_0/*.pth"))


@pytest.mark.row("unknown knob in the plans")
def test_unknown_knob(trainer: str, refuses: Any) -> None:
    plans = write_plans("plain", read_plans("plain"), "LiteUnknown", num_epoch=3)
    with refuses(UserError, match="unknown knob 'num_epoch'. Did you mean 'num_epochs'?"):
        train(trainer, "plain", "2d", plans=plans)


@pytest.mark.row("illegal value of a knob")
def test_illegal_value(trainer: str, refuses: Any) -> None:
    plans = write_plans("plain", read_plans("plain"), "LiteIllegal", initial_lr=-1)
    with refuses(UserError, match="knob 'initial_lr' expects a number > 0, got -1"):
        train(trainer, "plain", "2d", plans=plans)


@pytest.mark.row("plans of a newer nnunet_ext")
def test_newer_plans(trainer: str, refuses: Any) -> None:
    plans = read_plans("plain")
    plans["nnunet_ext"]["format"] = 99
    with refuses(UserError, match="come from a newer version"):
        train(trainer, "plain", "2d", plans=write_plans("plain", plans, "LiteNewer"))


@pytest.mark.row("plans without any knob train as stock (nothing is refused)")
def test_no_knobs(trainer: str) -> None:
    plans = read_plans("plain")
    del plans["nnunet_ext"]
    ready, _ = initialized(trainer, "plain", "2d", write_plans("plain", plans, "LiteBare"))
    assert (ready.num_epochs, ready.num_iterations_per_epoch, ready.initial_lr) == (1000, 250, 1e-2)
