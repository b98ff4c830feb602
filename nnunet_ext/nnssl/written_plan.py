"""The adaptation plan of a pre-training of ours, with which programs of nnssl's authors read its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_ext.nnssl.adaptation_plan import NETWORKS, SCHEMES
from nnunet_ext.nnssl.encoder_weights import ENCODER, STEM

CITATIONS = [
    {
        "type": "Architecture",
        "name": "nnU-Net",
        "apa_citations": [
            "Isensee, F., Jaeger, P. F., Kohl, S. A., Petersen, J., & Maier-Hein, K. H. (2021). nnU-Net: a "
            "self-configuring method for deep learning-based biomedical image segmentation. Nature methods, 18(2), "
            "203-211."
        ],
    }
]


def written_plan(
    plans: PlansManager, configuration: ConfigurationManager, name: str, network: nn.Module, channels: int
) -> dict[str, Any] | None:
    """Return the adaptation plan of a network that was pre-trained with plans of nnU-Net.

    Args:
        plans: The plans.
        configuration: The configuration.
        name: Its name.
        network: The bare network.
        channels: Its input channels.

    Returns:
        The plan; None if such a plan cannot describe it: a 2d network, one that is neither a ResidualEncoderUNet nor a
        PlainConvUNet, or a normalization with numbers of the dataset's, as that of CT.
    """
    planned = configuration.configuration
    class_name = type(network).__name__
    names = [getattr(network, key, None) for key in (ENCODER, STEM, "keys_to_in_proj")]
    described = class_name in NETWORKS and all(name is not None for name in names)
    if len(configuration.patch_size) != 3 or not described or not {*planned["normalization_schemes"]} <= {*SCHEMES}:
        return None
    architecture: Mapping[str, Any] = planned["architecture"]
    return {
        "architecture_plans": {
            "arch_class_name": class_name,
            "arch_kwargs": dict(architecture["arch_kwargs"]),
            "arch_kwargs_requiring_import": list(architecture["_kw_requires_import"]),
        },
        "pretrain_plan": {
            "dataset_name": plans.dataset_name,
            "plans_name": plans.plans_name,
            "original_median_spacing_after_transp": plans.plans.get("original_median_spacing_after_transp"),
            "transpose_forward": list(plans.transpose_forward),
            "transpose_backward": list(plans.transpose_backward),
            "configurations": {name: dict(planned)},
        },
        "pretrain_num_input_channels": channels,
        "recommended_downstream_patchsize": tuple(int(size) for size in configuration.patch_size),
        ENCODER: names[0],
        STEM: names[1],
        "keys_to_in_proj": list(names[2]),  # type: ignore[arg-type]
        "key_to_lpe": None,
        "citations": CITATIONS,
    }
