"""Pre-training: train, validate, start a segmentation from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from stock import (
    PLANS,
    check_trained,
    predict,
    prepare_cascade,
    prepare_residual_encoder,
    read_checkpoint,
    run_folder,
    train,
    variant,
)

from nnunet_ext.errors import UserError

pytestmark = pytest.mark.slow
WHY = "segments"
FORMS = {
    "labels, 2d": ("plain", "2d"),
    "labels, 3d_fullres": ("plain", "3d_fullres"),
    "regions and ignore label, 2d": ("regions+ignore", "2d"),
    "regions and ignore label, 3d_fullres": ("regions+ignore", "3d_fullres"),
    "two channels, 3d_fullres": ("2 channels", "3d_fullres"),
    "anisotropic voxels, 3d_fullres": ("anisotropic", "3d_fullres"),
    "residual encoder, 3d_fullres": ("plain", "3d_fullres"),
}


@pytest.mark.row("{form}: pre-trains; -pretrained_weights and init_from take it", of="pretraining", why=WHY)
@pytest.mark.parametrize("form", FORMS)
def test_starts_a_segmentation(trainer: str, form: str) -> None:
    data, configuration = FORMS[form]
    plans = prepare_residual_encoder(trainer, data) if "residual" in form else PLANS
    fold = train(trainer, data, configuration, plans=plans)
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    assert summary["masked_error"] > 0
    assert summary["blurring"] <= summary["constant"]
    source = fold / "checkpoint_final.pth"
    before = read_checkpoint(source)["network_weights"]
    segments = "NNUNetBaselineTrainer"
    still = {"initial_lr": 1e-12}
    for number, flags in enumerate((("-pretrained_weights", source), ())):
        name = f"{plans}Segments{number}"
        knobs = still if flags else still | {"init_from": str(source)}
        made = variant(segments, data, name, **knobs)
        if "residual" in form:
            made = _with_network_of(plans, data, made)
        found = train(segments, data, configuration, 0, *flags, plans=made)
        check_trained(found)
        after = read_checkpoint(found / "checkpoint_final.pth")["network_weights"]
        assert before.keys() == after.keys()
        for tensor in (key for key in after if ".seg_layers." not in key):
            torch.testing.assert_close(after[tensor], before[tensor], rtol=1e-5, atol=1e-6, msg=tensor)


def _with_network_of(plans: str, data: str, name: str) -> str:
    """Give plans the networks of others over the same data."""
    from stock import folder

    place = folder("nnUNet_preprocessed", data)
    ours, theirs = (json.loads((place / f"{each}.json").read_text()) for each in (name, plans))
    for configuration, planned in theirs["configurations"].items():
        ours["configurations"][configuration] = planned
    (place / f"{name}.json").write_text(json.dumps(ours))
    return name


@pytest.mark.row("nnUNetv2_predict", of="pretraining", why=WHY)
def test_does_not_predict(trainer: str, tmp_path: Path, refuses: Any) -> None:
    train(trainer, "plain", "2d")
    with refuses(UserError, match="expected a model that segments, found one that restores images"):
        predict(trainer, "plain", "2d", tmp_path / "predictions")


@pytest.mark.row("the second stage of a cascade", of="pretraining", why=WHY)
def test_cascade(trainer: str, refuses: Any) -> None:
    plans = prepare_cascade(trainer, "plain")
    with refuses(UserError, match="expected a configuration of one stage, got '3d_cascade_fullres'"):
        train(trainer, "plain", "3d_cascade_fullres", plans=plans)
    assert not list(run_folder(trainer, "plain", "3d_cascade_fullres", plans).rglob("*.pth"))
