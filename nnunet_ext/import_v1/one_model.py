"""Import a model of one dataset: nnU-Net v1's own, or BA-Net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnunet_ext.import_v1.labels import describe
from nnunet_ext.import_v1.model_folder import ModelFolder, write_models
from nnunet_ext.import_v1.target import Target
from nnunet_ext.import_v1.v1_model import Decision, V1Model, in_words
from nnunet_ext.import_v1.v2_plans import NAME, v2_plans


def import_one(
    source: V1Model,
    target: Target,
    *,
    labels: Sequence[str] | None = None,
    dataset_json: Path | None = None,
    channels: Sequence[str] | None = None,
    mirror_axes: Sequence[int] | None = None,
    show_progress: bool = False,
) -> tuple[Path, list[Decision]]:
    """Write a v1 model as one of v2.

    Args:
        source: The v1 model.
        target: Where it is written.
        labels: Names of the classes, background first.
        dataset_json: A dataset.json with labels or regions.
        channels: Names of the image channels.
        mirror_axes: Axes along which predictions are mirrored.
        show_progress: Show a progress bar.

    Returns:
        The model's folder, and what was decided.

    Raises:
        UserError: What was given does not fit the network, or nothing can be written.

    Example:
        >>> model = V1Model.read(V1Method.named("ba_net"), Path("v1"))  # doctest: +SKIP
        >>> target = Target("Dataset060_Kidney", out=Path("model"))  # doctest: +SKIP
        >>> import_one(model, target, labels=("background", "kidney"))[0]  # doctest: +SKIP
        PosixPath('model')
    """
    plans, sizes = source.plans, source.geometry
    assert plans is not None
    preprocessing = plans.preprocessing()
    description, labels_from, channels_from = describe(
        sizes.heads,
        plans.channel_names,
        cases=len(plans.content.get("list_of_npz_files") or ()),
        labels=labels,
        file=dataset_json,
        names=channels,
    )
    axes, mirroring_from = source.mirroring(mirror_axes)
    kernels, knobs = source.method.network_plans(sizes)
    configuration = plans.configuration
    new = v2_plans(
        target.dataset,
        configuration,
        sizes,
        preprocessing,
        kernels=kernels,
        patch_size=plans.patch_size,
        batch_size=int(plans.planned.get("batch_size", 2)),
        batch_dice=source.first.batch_dice,
        median_shape=plans.planned.get("median_patient_size_in_voxels"),
        knobs=knobs,
    )
    place = target.model(target.dataset, source.method.trainer.__name__, NAME, configuration)
    model = ModelFolder(place, new, description, plans.fingerprint())
    model.check_new()
    target.check_number(target.dataset)
    checkpoints = {
        fold: source.content(fold, each.weights, new, configuration, description, axes)
        for fold, each in source.checkpoints.items()
    }
    write_models([model], checkpoints, show_progress=show_progress)
    stage = source.first.stage
    origin = f"{plans.file}, stage {plans.stage}"
    return place, [
        *source.network_decisions(plans.patch_size, origin),
        ("configuration", configuration, "the last stage of the plans" if stage is None else stage[1]),
        ("spacing", f"{in_words(preprocessing.spacing)} mm", origin),
        ("axes", " ".join(map(str, preprocessing.transpose_forward)), "transpose_forward in the v1 plans"),
        ("normalization", preprocessing.described, "the v1 plans"),
        ("channels", ", ".join(description["channel_names"].values()), channels_from),
        ("classes", ", ".join(description["labels"]), labels_from),
        ("mirroring", "off" if axes is None else " ".join(map(str, axes)), mirroring_from),
    ]
