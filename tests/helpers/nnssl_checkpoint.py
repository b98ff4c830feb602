"""Checkpoints in nnssl's format, with small networks and random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from small_unet import small_unet
from torch import nn

STRIDES = [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
KEY = "nnssl_adaptation_plan"


def network_of(
    kind: str = "resenc",
    *,
    strides: Sequence[Sequence[int]] = STRIDES,
    kernels: Sequence[Sequence[int]] | None = None,
    channels: int = 1,
    **further: Any,
) -> nn.Module:
    """Return a masked autoencoder: a U-Net that restores its one input channel."""
    torch.manual_seed(3)
    blocks = {"convolutions": [1, 2, 2]} if len(strides) == 3 else {}
    return small_unet(kind, strides, kernels, channels=channels, classes=1, deep_supervision=False, **blocks | further)


def kwargs_of(network: Any) -> dict[str, Any]:
    """Return the arguments of a network's class, as an adaptation plan has them."""
    encoder, residual = network.encoder, hasattr(network.encoder, "stem")
    stages = [stage.blocks if residual else stage[0].convs for stage in encoder.stages]
    return {
        "n_stages": len(stages),
        "features_per_stage": list(encoder.output_channels),
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [list(size) for size in encoder.kernel_sizes],
        "strides": [list(stride) for stride in encoder.strides],
        "n_blocks_per_stage" if residual else "n_conv_per_stage": [len(blocks) for blocks in stages],
        "n_conv_per_stage_decoder": [len(stage.convs) for stage in network.decoder.stages],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def adaptation_plan(network: Any, *, preset: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return the adaptation plan of a network.

    Args:
        network: What was pre-trained.
        preset: A name of nnssl's that stands for the arguments.
        **changes: Entries of the plan, of its ``pretrain_plan`` (``dataset_name``, ``transpose_forward``) or of its
            configuration; None removes one.
    """
    planned = {
        "data_identifier": "nnsslPlans_onemmiso",
        "spacing_style": "onemmiso",
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
    }
    pretrained = {
        "dataset_name": "Dataset745_OpenMind",
        "plans_name": "nnsslPlans",
        "original_median_spacing_after_transp": [1.2, 0.9, 0.9],
        "transpose_forward": [0, 1, 2],
        "configurations": {"onemmiso": planned},
    }
    plan = {
        "architecture_plans": {
            "arch_class_name": preset or type(network).__name__,
            "arch_kwargs": None if preset else kwargs_of(network),
            "arch_kwargs_requiring_import": None if preset else ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "pretrain_plan": pretrained,
        "pretrain_num_input_channels": 1,
        "recommended_downstream_patchsize": (160, 160, 160),
        "key_to_encoder": network.key_to_encoder,
        "key_to_stem": network.key_to_stem,
        "keys_to_in_proj": network.keys_to_in_proj,
        "key_to_lpe": None,
        "citations": [{"type": "Pre-Training Dataset", "name": "OpenMind"}, {"type": "Framework", "name": "nnssl"}],
    }
    for key, value in changes.items():
        part: dict[str, Any] = next(each for each in (planned, pretrained, plan) if key in each or each is plan)
        part[key] = value
        if value is None:
            del part[key]
    return plan


def write_nnssl(file: Path, network: nn.Module, plan: Any, **entries: Any) -> Path:
    """Write a checkpoint of nnssl.

    Args:
        file: Where.
        network: What was pre-trained.
        plan: Its adaptation plan; None: none, as that of a sparse network.
        **entries: Further entries, or others; None removes one.
    """
    content = {
        "network_weights": network.state_dict(),
        "optimizer_state": {},
        "grad_scaler_state": None,
        "logging": {"train_losses": [1.0]},
        "_best_ema": 0.5,
        "current_epoch": 1000,
        "init_args": {"configuration_name": "onemmiso", "fold": "all"},
        "trainer_name": "BaseMAETrainer_BS8",
        KEY: plan,
    } | entries
    torch.save({key: value for key, value in content.items() if value is not None}, file)
    return file
