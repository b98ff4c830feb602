"""The architecture of a U-Net, read from the shapes of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from nnunet_ext.errors import UserError

UNETS = "dynamic_network_architectures.architectures.unet"
STAGE = re.compile(r"encoder\.stages\.(\d+)\.(?:blocks\.(\d+)\.conv1|0\.convs\.(\d+))\.conv\.weight")
TRANSPOSED = re.compile(r"(?:.*\.)?decoder\.transpconvs\.(\d+)\.weight")
DECODER = re.compile(r"(?:.*\.)?decoder\.stages\.(\d+)\.convs\.(\d+)\.conv\.weight")
PRESET = "ResEncL"  # nnssl's name of the network that nnU-Net calls ResEnc-L: every stage but the first halves all axes
IMPORTED = ["conv_op", "norm_op", "dropout_op", "nonlin"]


def unet_of_shapes(encoder: Mapping[str, Any], others: Mapping[str, Any], name: str, place: object) -> dict[str, Any]:
    """Return a network as plans of nnU-Net describe it, with leaky ReLU and without dropout, as nnU-Net plans it.

    Strides are in no shape of an encoder. They are the kernels of the transposed convolutions of the decoder in the
    same file; without a decoder, nnssl's preset ``ResEncL`` has known ones.

    Args:
        encoder: Tensors of encoder and stem by nnU-Net's names.
        others: Further tensors of the file: those of the decoder.
        name: The network's class or preset, as the file calls it.
        place: The file, for messages.

    Returns:
        ``network_class_name``, ``arch_kwargs`` and ``_kw_requires_import``.

    Raises:
        UserError: The shapes are not those of a U-Net's encoder, or nothing tells the strides.
    """
    found: dict[int, list[Tensor]] = {}
    plain = False
    for key, tensor in encoder.items():
        match = STAGE.fullmatch(key)
        if match and isinstance(tensor, Tensor) and tensor.ndim in (4, 5):
            plain |= match[3] is not None
            found.setdefault(int(match[1]), []).append(tensor)
    stages = [found.get(number, []) for number in range(len(found))]
    if len(stages) < 2 or not all(stages):
        raise UserError(
            f"{place}: expected the convolutions of two or more stages, one after the other, found those of stages "
            f"{', '.join(map(str, sorted(found))) or 'none'}. Take the checkpoint as nnssl wrote it."
        )
    dims = stages[0][0].ndim - 2
    strides = _strides(others, len(stages), dims, name)
    if strides is None:
        raise UserError(
            f"{place}: expected arch_kwargs in the adaptation plan, a decoder, or the preset {PRESET}, which tell the "
            f"strides, found none of them ({name[:40]!r}). Take a checkpoint with arch_kwargs."
        )
    batch_norm = any(key.endswith(".running_mean") for key in encoder)
    kwargs = {
        "n_stages": len(stages),
        "features_per_stage": [int(tensors[0].shape[0]) for tensors in stages],
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": [list(tensors[0].shape[2:]) for tensors in stages],
        "strides": strides,
        "n_conv_per_stage" if plain else "n_blocks_per_stage": [len(tensors) for tensors in stages],
        "n_conv_per_stage_decoder": _decoder(others, len(stages), 2 if plain else 1),
        "conv_bias": any(key.endswith(".conv.bias") for key in encoder),
        "norm_op": f"torch.nn.modules.{'batch' if batch_norm else 'instance'}norm."
        f"{'Batch' if batch_norm else 'Instance'}Norm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": any(key.endswith(".norm.weight") for key in encoder)},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    network = "PlainConvUNet" if plain else "ResidualEncoderUNet"
    return {"network_class_name": f"{UNETS}.{network}", "arch_kwargs": kwargs, "_kw_requires_import": IMPORTED}


def _strides(others: Mapping[str, Any], stages: int, dims: int, name: str) -> list[list[int]] | None:
    """Return the strides of all stages; the decoder begins with the deepest one."""
    kernels = {
        int(match[1]): [int(size) for size in tensor.shape[2:]]
        for key, tensor in others.items()
        if (match := TRANSPOSED.fullmatch(key)) and isinstance(tensor, Tensor) and tensor.ndim == dims + 2
    }
    first = [1] * dims
    if sorted(kernels) == list(range(stages - 1)):
        return [first, *(kernels[number] for number in reversed(range(stages - 1)))]
    return [first, *([2] * dims for _ in range(stages - 1))] if name == PRESET else None


def _decoder(others: Mapping[str, Any], stages: int, usual: int) -> Sequence[int]:
    """Return the convolutions of each decoder stage: the file's, else as many as nnU-Net plans."""
    counts = [0] * (stages - 1)
    for match in filter(None, map(DECODER.fullmatch, others)):
        if int(match[1]) < len(counts):
            counts[int(match[1])] += 1
    return [count or usual for count in counts]
