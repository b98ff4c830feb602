"""Load the weights of the authors' BA-Net (on nnU-Net v1) into ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nnunet_ext.ba_net.architecture import BANet


def load_v1_weights(network: BANet, state_dict: Mapping[str, Tensor]) -> None:
    """Fill ``network``, in place, with a state dict of the authors' network [0].

    v1 has no bias in transposed convolutions and segmentation heads; ours are set to 0, which is the same function. v1
    decoders take the kernel of the encoder stage below: where kernels differ, build the network with
    ``decoder_kernel_sizes=encoder.kernel_sizes[1:]`` (knob ``ba_net.v1_decoder_kernels``).

    [0] https://github.com/ShishuaiHu/BA-Net, KiPA22 version

    Args:
        network: Built from plans with plain convolutions.
        state_dict: Their weights by their names.

    Raises:
        ValueError: A tensor is missing, left over or of another shape; the network is then partly filled.
    """
    rest = dict(state_dict)
    for stage, module in enumerate(network.encoder.stages):
        _fill_blocks(module[0].convs, f"conv_blocks_context.{stage}.", rest)
    decoders = (
        (network.decoder, "conv_blocks_localization", "tu", "seg_outputs", network.decoder.seg_layers),
        (
            network.boundary_decoder,
            "conv_blocks_boundary",
            "tb",
            "bdr_outputs",
            network.boundary_decoder.boundary_layers,
        ),
    )
    for decoder, blocks, upsampling, heads, own_heads in decoders:
        for stage in range(len(decoder.stages)):
            _fill(decoder.transpconvs[stage], f"{upsampling}.{stage}", rest, bias_may_miss=True)
            _fill_blocks(decoder.stages[stage].convs, f"{blocks}.{stage}.", rest)
            _fill(own_heads[stage], f"{heads}.{stage}", rest, bias_may_miss=True)
    if rest:
        raise ValueError(
            f"expected the weights of the same plans, but {len(rest)} tensors are left over: {sorted(rest)}"
        )


def _fill_blocks(blocks: nn.Sequential, prefix: str, rest: dict[str, Tensor]) -> None:
    """v1 numbers a stage's convolutions over one or two levels of nesting; their order is what counts."""
    pattern = re.compile(re.escape(prefix) + r"(?:\d+\.)?blocks\.\d+(?=\.conv\.weight$)")
    names = sorted(
        (match.group() for match in map(pattern.match, rest) if match),
        key=lambda name: [int(number) for number in re.findall(r"\d+", name)],
    )
    if len(names) != len(blocks):
        raise ValueError(f"expected {len(blocks)} convolutions at {prefix!r}, got {len(names)}; use the plans' numbers")
    for block, name in zip(blocks, names, strict=True):
        _fill(block.get_submodule("conv"), f"{name}.conv", rest)
        _fill(block.get_submodule("norm"), f"{name}.instnorm", rest)


@torch.no_grad()
def _fill(module: nn.Module, name: str, rest: dict[str, Tensor], *, bias_may_miss: bool = False) -> None:
    for kind, parameter in module.named_parameters():
        key = f"{name}.{kind}"
        if key not in rest and kind == "bias" and bias_may_miss:
            parameter.zero_()
            continue
        found = rest.pop(key, None)
        if found is None or found.shape != parameter.shape:
            shape = None if found is None else tuple(found.shape)
            raise ValueError(f"expected {key!r} of shape {tuple(parameter.shape)}, got {shape}; use the same plans")
        parameter.copy_(found)
