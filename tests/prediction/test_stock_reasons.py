"""What is left to nnU-Net's own command."""

from __future__ import annotations

import json

import pytest
from small_model import LINEAR

from nnunet_ext.prediction.stock_reasons import reason_for_stock


@pytest.mark.parametrize(
    ("settings", "options", "reason"),
    [
        ({}, {}, None),
        ({}, {"save_probabilities": True}, "probabilities are wanted of all classes at the image's size"),
        ({}, {"previous_stage": True}, "predictions of a previous stage are given"),
        ({"previous_stage": "3d_lowres"}, {}, "the model is the second stage of a cascade, after 3d_lowres"),
        (
            {"resampling_fn_probabilities": "resample_torch_fornnunet"},
            {},
            "the plans name resample_torch_fornnunet for logits",
        ),
        (
            {"resampling_fn_probabilities_kwargs": LINEAR | {"order": 3}},
            {},
            "the plans resample logits with splines of order 3",
        ),
        (
            {"resampling_fn_probabilities_kwargs": LINEAR | {"order_z": 2}},
            {},
            "the plans resample logits with splines of order 2",
        ),
        (
            {"resampling_fn_probabilities_kwargs": LINEAR | {"is_seg": True}},
            {},
            "the plans resample logits as if they were labels",
        ),
        # what else is replaced keeps the labels' equality
        ({"resampling_fn_data": "resample_torch_fornnunet"}, {}, None),
        ({"resampling_fn_probabilities_kwargs": LINEAR | {"order": 0, "order_z": 1}}, {}, None),
    ],
)
def test_reasons(write_model, settings, options, reason):
    model = write_model()
    plans, description = (json.loads((model / name).read_text()) for name in ("plans.json", "dataset.json"))
    plans["configurations"]["3d_fullres"] |= settings
    assert reason_for_stock(plans, description, "3d_fullres", **options) == reason


def test_another_label_manager(write_model, monkeypatch):
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    class Other(LabelManager):
        """Another package's."""

    model = write_model()
    plans, description = (json.loads((model / name).read_text()) for name in ("plans.json", "dataset.json"))
    monkeypatch.setattr("nnunetv2.utilities.plans_handling.plans_handler.PlansManager.label_manager_class", Other)
    assert reason_for_stock(plans, description, "3d_fullres") == "the plans name the label manager Other"


def test_the_options_come_first():
    """They are known without plans that could be read."""
    assert reason_for_stock({}, {}, "3d_fullres", save_probabilities=True) is not None
