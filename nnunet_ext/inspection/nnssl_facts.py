"""What the adaptation plan in a checkpoint of nnssl says about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunet_ext.inspection.plain_values import at, known, plain
from nnunet_ext.nnssl.encoder_weights import KEY

# by what nnssl's trainers are called; the first that fits
METHODS = {
    "SparkMAE": "S3D (sparse masked autoencoder)",
    "MAE": "masked autoencoder",
    "SimMIM": "SimMIM",
    "SimCLR": "SimCLR",
    "VoCo": "VoCo",
    "VolumeFusion": "Volume Fusion",
    "ModelsGenesis": "Models Genesis",
    "ModelGenesis": "Models Genesis",
    "SwinUNETR": "SwinUNETR's pre-training",
}


def nnssl_facts(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint of nnssl says, as JSON has it; what it does not say is left out.

    Args:
        content: The checkpoint; anything may be in it.

    Returns:
        ``method``, ``dataset`` and ``pretraining_datasets`` (their number), ``configuration`` (how images were
        resampled), ``spacing`` in mm, ``patch_size`` (the one recommended for fine-tuning, in voxels), ``channels``
        (their number), ``architecture``, ``citations`` (what to cite) and so on.
    """
    plan, trainer = content.get(KEY), content.get("trainer_name")
    pretrained, network = at(plan, "pretrain_plan"), at(plan, "architecture_plans")
    configurations = at(pretrained, "configurations")
    name = next(iter(configurations), None) if isinstance(configurations, Mapping) else None
    kwargs, class_name = at(network, "arch_kwargs"), at(network, "arch_class_name")
    facts = {
        "method": next((told for part, told in METHODS.items() if part in str(trainer)), None),
        "dataset": at(pretrained, "dataset_name"),
        "pretraining_datasets": _datasets(content),
        "plans": at(pretrained, "plans_name"),
        "configuration": name,
        "spacing": at(configurations, name, "spacing"),
        "patch_size": at(plan, "recommended_downstream_patchsize"),
        "channels": at(plan, "pretrain_num_input_channels"),
        "normalization_schemes": at(configurations, name, "normalization_schemes"),
        "architecture": known(
            {
                "class": None if class_name is None else str(class_name).rpartition(".")[2],
                "stages": at(kwargs, "n_stages"),
                "features": at(kwargs, "features_per_stage"),
                "kernels": at(kwargs, "kernel_sizes"),
                "strides": at(kwargs, "strides"),
            }
        ),
        "citations": [at(each, "name") for each in _citations(plan) if at(each, "name") is not None],
    }
    return known(plain(facts))


def _datasets(content: Mapping[str, Any]) -> int | None:
    """Return how many datasets were pre-trained on: those of the collection, else those that are cited."""
    datasets = at(content, "init_args", "pretrain_json", "datasets")
    if isinstance(datasets, Mapping | list):
        return len(datasets)
    cited = [each for each in _citations(content.get(KEY)) if "dataset" in str(at(each, "type")).casefold()]
    return len(cited) or None


def _citations(plan: Any) -> list[Any]:
    found = at(plan, "citations")
    return found if isinstance(found, list) else []
