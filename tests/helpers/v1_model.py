"""Models of nnU-Net v1 in miniature: plain U-Net, checkpoint and plans as v1 writes them."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

FINAL = "model_final_checkpoint.model"
KERNELS, POOLS = [[1, 3, 3], [3, 3, 3], [3, 3, 3]], [[1, 2, 2], [2, 2, 2]]


def unet_weights(
    kernels: Sequence[Sequence[int]] = KERNELS,
    pools: Sequence[Sequence[int]] = POOLS,
    features: Sequence[int] = (2, 4, 6),
    channels: int = 1,
    heads: int = 3,
) -> dict[str, Tensor]:
    """Random weights of v1's plain U-Net; decoder kernels are those of the encoder stage below."""
    made = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}

    def block(name: str, before: int, after: int, kernel: Sequence[int]) -> None:
        weights[f"{name}.conv.weight"] = torch.randn(after, before, *kernel, generator=made) / before
        weights[f"{name}.conv.bias"] = torch.randn(after, generator=made)
        weights[f"{name}.instnorm.weight"] = torch.rand(after, generator=made) + 0.5
        weights[f"{name}.instnorm.bias"] = torch.randn(after, generator=made)

    last = len(kernels) - 1
    before = channels
    for stage, kernel in enumerate(kernels):
        for number in range(2):
            inner = f"{number}.blocks.0" if stage == last else f"blocks.{number}"
            block(f"conv_blocks_context.{stage}.{inner}", before, features[stage], kernel)
            before = features[stage]
    for stage in range(last):
        below, here = features[last - stage], features[last - stage - 1]
        weights[f"tu.{stage}.weight"] = torch.randn(below, here, *pools[-1 - stage], generator=made) / below
        block(f"conv_blocks_localization.{stage}.0.blocks.0", 2 * here, here, kernels[last - stage])
        block(f"conv_blocks_localization.{stage}.1.blocks.0", here, here, kernels[last - stage])
        ones = [1] * len(kernels[0])
        weights[f"seg_outputs.{stage}.weight"] = torch.randn(heads, here, *ones, generator=made)
    return weights


def unet_logits(weights: dict[str, Tensor], x: Tensor, pools: Sequence[Sequence[int]] = POOLS) -> Tensor:
    """Full-resolution logits of v1's plain U-Net for images (B, C, D, H, W) or (B, C, H, W)."""
    conv = functional.conv3d if x.ndim == 5 else functional.conv2d
    up = functional.conv_transpose3d if x.ndim == 5 else functional.conv_transpose2d

    def block(y: Tensor, name: str, stride: Any = 1) -> Tensor:
        weight = weights[f"{name}.conv.weight"]
        padding = [size // 2 for size in weight.shape[2:]]
        y = conv(y, weight, weights[f"{name}.conv.bias"], stride, padding)
        y = functional.instance_norm(
            y, None, None, weights[f"{name}.instnorm.weight"], weights[f"{name}.instnorm.bias"]
        )
        return functional.leaky_relu(y, 0.01)

    skips = []
    for stage in range(len(pools) + 1):
        for number in range(2):
            inner = f"{number}.blocks.0" if stage == len(pools) else f"blocks.{number}"
            stride = tuple(pools[stage - 1]) if stage and not number else 1
            x = block(x, f"conv_blocks_context.{stage}.{inner}", stride)
        skips.append(x)
    for stage, pool in enumerate(reversed(pools)):
        x = torch.cat((up(x, weights[f"tu.{stage}.weight"], stride=tuple(pool)), skips[-2 - stage]), 1)
        for number in range(2):
            x = block(x, f"conv_blocks_localization.{stage}.{number}.blocks.0")
    return conv(x, weights[f"seg_outputs.{len(pools) - 1}.weight"])


def uniseg_weights(
    tasks: int = 3, stems: Sequence[int] = (1, 2), heads: int = 3, patch: Sequence[int] = (4, 16, 16)
) -> dict[str, Tensor]:
    """Random weights of the authors' UniSeg on this U-Net: stems, prompt, FUSE, and a prompted bottleneck."""
    made = torch.Generator().manual_seed(1)
    weights = unet_weights(heads=heads)
    for kind in ("weight", "bias"):
        first = weights.pop(f"conv_blocks_context.0.blocks.0.conv.{kind}")
        for stem in stems:
            shape = (len(first), stem, *first.shape[2:]) if kind == "weight" else first.shape
            weights[f"conv_blocks_context.0.blocks.0.conv_{stem}.{kind}"] = torch.randn(shape, generator=made)
    below, here, *pool = weights["tu.0.weight"].shape
    weights["tu.0.weight"] = torch.randn(below + 1, here, *pool, generator=made)
    hidden = (below + tasks) // 4
    for number, (before, after) in enumerate(((below + tasks, hidden), (hidden, hidden), (hidden, tasks))):
        name = f"fusion_layer.blocks.{number}"
        weights[f"{name}.conv.weight"] = torch.randn(after, before, 3, 3, 3, generator=made)
        for kind in ("conv.bias", "instnorm.weight", "instnorm.bias"):
            weights[f"{name}.{kind}"] = torch.randn(after, generator=made)
    size = [length // step for length, step in zip(patch, np.prod(POOLS, 0), strict=True)]
    weights["intermedia_prompt"] = torch.randn(1, tasks, *(int(length) for length in size), generator=made)
    return weights


def v1_plans(
    patch: Sequence[int] = (4, 16, 16),
    spacing: Sequence[float] = (3.0, 1.5, 1.25),
    *,
    kernels: Sequence[Sequence[int]] = KERNELS,
    pools: Sequence[Sequence[int]] = POOLS,
    schemes: Sequence[str] = ("CT",),
    base: int = 2,
    heads: int = 3,
    **more: Any,
) -> dict[str, Any]:
    """Plans as v1 pickles them, with numpy's arrays and numbers."""
    properties = {
        "mean": np.float32(80),
        "median": np.float64(70),
        "sd": np.float32(50),
        "mn": np.float64(-900),
        "mx": np.float64(900),
        "percentile_00_5": np.float64(-100),
        "percentile_99_5": np.float64(300),
    }
    stage = {
        "batch_size": 3,
        "patch_size": np.array(patch),
        "current_spacing": np.array(spacing),
        "original_spacing": np.array(spacing),
        "median_patient_size_in_voxels": np.array([40, 50, 60]),
        "num_pool_per_axis": [1, 2, 2],
        "do_dummy_2D_data_aug": False,
        "pool_op_kernel_sizes": [list(pool) for pool in pools],
        "conv_kernel_sizes": [list(kernel) for kernel in kernels],
    }
    known = {number: dict(properties) for number, name in enumerate(schemes) if name == "CT"}
    return {
        "num_stages": 1,
        "num_modalities": len(schemes),
        "modalities": dict(enumerate(schemes)),
        "normalization_schemes": OrderedDict(enumerate(schemes)),
        "use_mask_for_norm": OrderedDict((number, False) for number in range(len(schemes))),
        "dataset_properties": {
            "all_sizes": [(40, 50, 60)],
            "all_spacings": [np.array(spacing)],
            "intensityproperties": OrderedDict(known),
        },
        "list_of_npz_files": ["a.npz", "b.npz"],
        "num_classes": heads - 1,
        "all_classes": np.arange(1, heads),
        "base_num_features": base,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "plans_per_stage": OrderedDict({0: stage}),
    } | more


def write_v1(
    folder: Path, weights: dict[str, Tensor], plans: dict[str, Any] | None, folds: Sequence[str] = ("0",), **more: Any
) -> Path:
    """Write a v1 model folder; ``more`` is added to the checkpoints. Return the checkpoint of the first fold."""
    files = [folder / f"fold_{fold}" / FINAL for fold in folds]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        content = {"epoch": 1000, "state_dict": OrderedDict(weights), "plot_stuff": ([0.5], np.float64(0.5))}
        torch.save(content | more, file)
    if plans is not None:
        write_pickle(folder / "plans.pkl", plans)
    return files[0]


def write_pickle(file: Path, content: Any) -> Path:
    """Write a pickle as v1 does."""
    with file.open("wb") as stream:
        pickle.dump(content, stream)
    return file
