"""Plans that continue a trained model on other data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_ext.fine_tuning.batch_size import decide_batch_size
from nnunet_ext.fine_tuning.classes import decide_classes
from nnunet_ext.fine_tuning.decision import Decision
from nnunet_ext.fine_tuning.mirroring import decide_mirroring
from nnunet_ext.fine_tuning.normalization import INTENSITIES, decide_normalization, match_channels
from nnunet_ext.fine_tuning.own_plans import OwnPlans
from nnunet_ext.fine_tuning.patch_size import decide_patch_size
from nnunet_ext.fine_tuning.source.source_model import SourceModel
from nnunet_ext.fine_tuning.source_network import SourceNetwork
from nnunet_ext.fine_tuning.spacing import decide_spacing
from nnunet_ext.fine_tuning.transposition import decide_transposition
from nnunet_ext.weights.class_matching import BY_NAME, ClassMatching

LONG_RECIPE = (
    "decoder and heads start at random; the 150 epochs of FineTuneTrainer, 15 of them a warm-up, are nnU-Net's short "
    "recipe for such weights, and its long one is --set num_epochs=1000 warm_up=0.05"
)
BLOCK = "fine_tuned_from"  # of the plans: the source and the decisions


@dataclass(frozen=True)
class Wanted:
    """What the user decided; None: decided here.

    Args:
        configuration: Name of the data's configuration that takes the network.
        spacing: ``source``, ``target``, or mm in the axis order of the images.
        patch_size: ``source``, ``target``, or voxels in the order of the plans.
        batch_size: Samples.
        normalization: ``source`` or ``target``.
        transpose: ``source``, ``target``, or ``transpose_forward``.
        mirror_axes: ``source``, ``target``, or axes of a patch in the order of the plans.
        classes: Value of the knob ``init_from_classes``.
    """

    configuration: str | None = None
    spacing: str | Sequence[float] | None = None
    patch_size: str | Sequence[int] | None = None
    batch_size: int | None = None
    normalization: str | None = None
    transpose: str | Sequence[int] | None = None
    mirror_axes: str | Sequence[int] | None = None
    classes: ClassMatching = BY_NAME


@dataclass(frozen=True)
class FineTuningPlans:
    """Plans with one configuration, and why they are so.

    Args:
        plans: What nnU-Net reads.
        configuration: The configuration's name.
        mirror_axes: Value of the knob: axes of a patch, None if they are all.
        decisions: In the order of the table.
    """

    plans: dict[str, Any]
    configuration: str
    mirror_axes: list[int] | None
    decisions: list[Decision]

    @classmethod
    def make(cls, source: SourceModel, own: OwnPlans, plans_name: str, wanted: Wanted) -> FineTuningPlans:
        """Decide everything.

        The network is the source's; reader, file ending, labels and resampling are the data's; the rest is decided one
        by one. Nothing is written.

        Args:
            source: The model to continue.
            own: The data's own plans.
            plans_name: Name of the new plans.
            wanted: What the user decided.

        Raises:
            UserError: The network and the data, or what the user decided, cannot be brought together.
        """
        name = own.base(wanted.configuration, source.configuration_name, source.dimensions)
        network = SourceNetwork(source)
        transposition = decide_transposition(source, own, name, wanted.transpose, wanted.spacing)
        order, axes = list(transposition.value), source.dimensions
        spacing, full = decide_spacing(source, own, name, order, wanted.spacing)
        planned = own.configuration_at(full, order, axes)
        shape = own.shape_at(full)[order][-axes:]
        patch = decide_patch_size(network, own, planned["patch_size"], shape, wanted.patch_size)
        batch = decide_batch_size(network, own, full, order, patch.value, wanted.batch_size)
        channels = decide_normalization(source, own, planned, wanted.normalization)
        mirroring = decide_mirroring(source, order, wanted.mirror_axes)
        configuration = planned | {
            "data_identifier": f"{plans_name}_{name}",
            "spacing": spacing.value,
            "patch_size": patch.value,
            "batch_size": batch.value,
            "normalization_schemes": [channel.scheme for channel in channels],
            "use_mask_for_norm": [channel.mask for channel in channels],
            "batch_dice": own.plans["configurations"][name]["batch_dice"],
            "architecture": source.architecture,
        }
        decisions = [
            _network(source, network),
            transposition,
            spacing,
            patch,
            batch,
            *(each.decision for each in channels),
        ]
        decisions += [mirroring, _channels(source, own), decide_classes(source, own, name, wanted.classes), _files(own)]
        plans = own.plans | {
            "plans_name": plans_name,
            "transpose_forward": order,
            "transpose_backward": [int(axis) for axis in np.argsort(order)],
            "original_median_spacing_after_transp": [float(step) for step in own.median_spacing[order]],
            "original_median_shape_after_transp": [round(float(size)) for size in own.median_shape[order]],
            INTENSITIES: {str(number): dict(channel.intensities) for number, channel in enumerate(channels)},
            "configurations": {name: configuration},
            BLOCK: {
                "model": str(source.file),
                "trainer": source.trainer,
                "dataset": source.plans.get("dataset_name"),
                "configuration": source.configuration_name,
                "decisions": [decision.as_json() for decision in decisions],
            },
        }
        return cls(plans, name, mirroring.value if len(mirroring.value) < axes else None, decisions)


def _network(source: SourceModel, network: SourceNetwork) -> Decision:
    architecture = source.architecture
    kwargs, kind = architecture["arch_kwargs"], architecture["network_class_name"].rpartition(".")[2]
    features = kwargs.get("features_per_stage")
    shown = kind if features is None else f"{kind}, {len(features)} stages, {features[0]} to {features[-1]} features"
    name, why = architecture["network_class_name"], "its weights are tensors of it"
    if source.pretraining is not None:
        why = (
            f"its encoder and stem were pre-trained without labels (by nnssl's {source.trainer or 'unknown trainer'}); "
            f"decoder and heads start at random, as in nnU-Net's own fine-tuning of such weights"
        )
        return Decision("network", name, "source", why, shown, f"network: {LONG_RECIPE}")
    misfits, warning = network.misfits, ""
    if misfits:
        warning = (
            f"network: {len(misfits)} of its tensors are not in the weights in their shape and start at random, the "
            f"first is {misfits[0]}; trainer {source.trainer or 'unknown'} may have built another network"
        )
    return Decision("network", name, "source", why, shown, warning)


def _channels(source: SourceModel, own: OwnPlans) -> Decision:
    theirs, mine = source.channel_names, own.channels
    matches = match_channels(theirs, mine, len(source.configuration["normalization_schemes"]))
    new = [name for name, match in zip(mine, matches, strict=True) if match is None]
    if source.pretraining is not None and len(source.configuration["normalization_schemes"]) == 1:
        why = "images have them; the pre-training had one of any kind" + (
            f", whose kernels each of yours gets, divided by {len(mine)}" if len(mine) > 1 else ""
        )
        return Decision("channels", mine, "target", why, ", ".join(mine))
    known = "in its own order" if theirs is None else ", ".join(theirs)
    why = f"images have them; the source's ({known}) are matched by name" + (f"; new: {', '.join(new)}" if new else "")
    return Decision("channels", mine, "target", why, ", ".join(mine))


def _files(own: OwnPlans) -> Decision:
    reader, ending = own.plans["image_reader_writer"], own.planner.dataset_json["file_ending"]
    return Decision("files", [reader, ending], "target", "it is what they are", f"{ending} by {reader}")
