"""A model whose labels are known: thresholds of its input, or of the neighbour along one axis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from small_model import write_small_model
from small_unet import planned_unet

SCALE = 64  # of logits: nnU-Net's sums are fp16, and its weights at the corners of a window small
NAMES = {"background": 0, "liver": 1, "kidney_left": 2}


def write_threshold_model(
    results: Path,
    thresholds: tuple[float, ...] = (100.0, 1500.0),
    *,
    labels: dict[str, Any] | None = None,
    spacing: tuple[float, float, float] = (2.5, 1.25, 0.75),
    weights: tuple[float, ...] = (1.0,),
    neighbour: tuple[int, int, int] = (0, 0, 0),
    **settings: Any,
) -> Path:
    """Write a model that gives label k where its input is above the k-th threshold and not above the next.

    Args:
        results: The folder nnUNet_results.
        thresholds: Ascending and positive.
        labels: Of dataset.json.
        spacing: Of the plans: images of this spacing are not resampled.
        weights: The input is the sum of the channels with these weights.
        neighbour: Instead of a voxel, look at the one this far away along the axes of the array, each -1, 0 or 1.
        **settings: Of :func:`write_small_model`.

    Returns:
        The model's folder.
    """
    architecture = planned_unet([[1, 1, 1], [1, 2, 2]], features=(2, 2))
    architecture["arch_kwargs"] |= {"norm_op": None, "norm_op_kwargs": None}
    channels = len(weights)
    planned = {
        "normalization_schemes": ["NoNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "architecture": architecture,
        "spacing": list(spacing),
        "patch_size": [6, 16, 12],
    }
    settings = {"axes": None} | settings
    model = write_small_model(results, labels=labels or NAMES, **(settings | planned))
    description = json.loads((model / "dataset.json").read_text())
    description["channel_names"] = {str(place): f"MR{place}" for place in range(channels)}
    (model / "dataset.json").write_text(json.dumps(description))
    plans = json.loads((model / "plans.json").read_text())
    plans["foreground_intensity_properties_per_channel"] = {str(place): {} for place in range(channels)}
    (model / "plans.json").write_text(json.dumps(plans))
    manager = PlansManager(plans)
    heads = manager.get_label_manager(description).num_segmentation_heads
    assert heads == len(thresholds) + 1 or "order" in settings
    network = nnUNetTrainer.build_network_architecture(
        manager, manager.get_configuration("3d_fullres"), channels, heads, enable_deep_supervision=False
    )
    _set_weights(network, thresholds, weights, neighbour, regions="order" in settings)
    for file in model.glob("fold_*/checkpoint_final.pth"):
        checkpoint = torch.load(file, weights_only=False)
        torch.save(checkpoint | {"network_weights": network.state_dict()}, file)
    return model


def _set_weights(
    network: Any,
    thresholds: tuple[float, ...],
    weights: tuple[float, ...],
    neighbour: tuple[int, int, int],
    *,
    regions: bool,
) -> None:
    """Let the first feature of the finest level be the input; all else is 0."""
    for parameter in network.parameters():
        parameter.data.zero_()
    first = network.encoder.stages[0][0].convs[0].conv.weight.data
    last = network.decoder.stages[0].convs[0].conv.weight.data
    for channel, weight in enumerate(weights):
        first[(0, channel, *(1 + step for step in neighbour))] = weight / 1024  # logits are fp16
    last[0, 2, 1, 1, 1] = 1  # the skip connection comes after two upsampled features
    head = network.decoder.seg_layers[-1]
    scaled = [threshold / 1024 for threshold in thresholds]
    for place in range(len(scaled)):
        if regions:
            head.weight.data[place, 0], head.bias.data[place] = SCALE, -SCALE * scaled[place]
        else:
            head.weight.data[place + 1, 0] = SCALE * (place + 1)
            head.bias.data[place + 1] = -SCALE * sum(scaled[: place + 1])
