"""Predictions that are left to nnU-Net's own command, because ours would not certainly have the same labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration

CONVEX = (0, 1)  # orders with which an interpolated logit lies between its neighbours


def reason_for_stock(
    plans: Mapping[str, Any],
    dataset_json: Mapping[str, Any],
    configuration: str,
    *,
    save_probabilities: bool = False,
    previous_stage: bool = False,
) -> str | None:
    """Return why a prediction is left to nnU-Net, in words that complete a sentence; None if it is not.

    Args:
        plans: The model's plans.
        dataset_json: The model's dataset.json.
        configuration: Name of the configuration.
        save_probabilities: Probabilities are written.
        previous_stage: Predictions of a previous stage are given.
    """
    if save_probabilities:
        return "probabilities are wanted of all classes at the image's size"
    if previous_stage:
        return "predictions of a previous stage are given"
    manager = PlansManager(dict(plans))
    planned = FastConfiguration.of(manager.get_configuration(configuration))
    if planned.previous_stage_name is not None:
        return f"the model is the second stage of a cascade, after {planned.previous_stage_name}"
    if (reason := planned.reason_for_stock("probabilities")) is not None:
        return f"{reason} for logits"
    settings = planned.configuration["resampling_fn_probabilities_kwargs"]
    if settings.get("is_seg", False):
        return "the plans resample logits as if they were labels"
    orders = planned.planned_resampling("probabilities", [1, 1, 1], [1, 1, 1])
    if orders.order not in CONVEX or orders.order_z not in CONVEX:
        return f"the plans resample logits with splines of order {max(orders.order, orders.order_z)}"
    labels = manager.get_label_manager(dict(dataset_json))
    if type(labels) is not LabelManager:
        return f"the plans name the label manager {type(labels).__name__}"
    return None
