"""dataset.json of an imported model: v1's plans know numbers of classes and channels, but few of their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_ext.data.dataset_json import BACKGROUND, read_dataset_json
from nnunet_ext.errors import UserError, one_line

ENDING = ".nii.gz"  # the only one that v1 read


def describe(
    heads: int,
    channels: Sequence[str],
    *,
    cases: int = 0,
    labels: Sequence[str] | None = None,
    file: Path | None = None,
    names: Sequence[str] | None = None,
) -> tuple[dict[str, Any], str, str]:
    """Return dataset.json, and where the names of the classes and of the channels come from.

    Args:
        heads: Logits of the network.
        channels: Names of the channels in the v1 plans.
        cases: Number of training cases.
        labels: Names of the classes in the order of the logits, background first.
        file: A dataset.json that has the labels, also regions, and may have the channels.
        names: Names of the channels.

    Raises:
        UserError: The classes or channels are not as many as the network's, or are no legal labels.
    """
    description: dict[str, Any] = {"labels": {BACKGROUND: 0}, "numTraining": cases, "file_ending": ENDING}
    if file is not None:
        given = read_dataset_json(file)
        kept = ("labels", "regions_class_order", "file_ending", "channel_names")
        description |= {key: given[key] for key in kept if key in given}
        place, source = str(file), "--dataset_json"
    elif labels is not None:
        if labels[0] != BACKGROUND or len(set(labels)) < len(labels):
            raise UserError(
                f"--labels: expected different names, {BACKGROUND!r} first, got {' '.join(labels)}. Name the classes "
                f"in the order of their numbers."
            )
        description["labels"] = {name: number for number, name in enumerate(labels)}
        place, source = "--labels", "--labels"
    else:
        description["labels"] |= {f"class_{number}": number for number in range(1, heads)}
        place, source = "the v1 plans", "numbers in the v1 plans"
    try:
        found = LabelManager(description["labels"], description.get("regions_class_order")).num_segmentation_heads
    except (AssertionError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"{place}: expected labels that nnU-Net accepts, got {one_line(error)!r}. Correct the labels."
        ) from error
    if found != heads:
        raise UserError(
            f"{place}: expected {heads} classes with background, or {heads} regions, as the network has, got {found}. "
            f"Name them with --labels, or regions with --dataset_json."
        )
    channels_from = "--dataset_json" if "channel_names" in description else "the v1 plans"
    if names is not None or "channel_names" not in description:
        description["channel_names"] = {str(i): name for i, name in enumerate(channels if names is None else names)}
    channels_from = channels_from if names is None else "--channels"
    if len(description["channel_names"]) != len(channels):
        raise UserError(
            f"{channels_from}: expected {len(channels)} channels, as the network has, got "
            f"{len(description['channel_names'])}. Name each with --channels."
        )
    return description, source, channels_from
