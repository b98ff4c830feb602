"""Load the weights of the authors' UniSeg (on nnU-Net v1) into ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nnunet_ext.methods.uniseg.architecture import UniSeg
from nnunet_ext.networks.v1_weights import check_nothing_left, fill, fill_blocks


def load_v1_weights(network: UniSeg, state_dict: Mapping[str, Tensor]) -> None:
    """Fill ``network``, in place, with a state dict of the authors' network [0].

    v1 has no bias in transposed convolutions and segmentation heads; ours are set to 0, which is the same function. v1
    decoders take the kernel of the encoder stage below: build the network with
    ``decoder_kernel_sizes=encoder.kernel_sizes[1:]``.

    [0] https://github.com/yeerwen/UniSeg at e3ae40d

    Args:
        network: Built from plans with plain convolutions, with the authors' tasks, channels and patch.
        state_dict: Their weights by their names.

    Raises:
        ValueError: A tensor is missing, left over or of another shape; the network is then partly filled.
    """
    rest = dict(state_dict)
    prompt = rest.pop("intermedia_prompt", None)
    if prompt is None or prompt.shape != network.prompt.shape:
        shape = None if prompt is None else tuple(prompt.shape)
        raise ValueError(f"expected a prompt of shape {tuple(network.prompt.shape)}, got {shape}; use the same tasks")
    with torch.no_grad():
        network.prompt.copy_(prompt)
    first, *others = network.encoder.stages[0][0].convs
    for channels, conv in first.conv.convs.items():
        fill(conv, f"conv_blocks_context.0.blocks.0.conv_{channels}", rest)
    fill(first.norm, "conv_blocks_context.0.blocks.0.instnorm", rest)
    fill_blocks(others, "conv_blocks_context.0.", rest)
    for stage, module in enumerate(network.encoder.stages[1:], start=1):
        fill_blocks(module[0].convs, f"conv_blocks_context.{stage}.", rest)
    fill_blocks(network.fuse.convs, "fusion_layer.", rest)
    for stage, module in enumerate(network.decoder.stages):
        fill(network.decoder.transpconvs[stage], f"tu.{stage}", rest, bias_may_miss=True)
        fill_blocks(module.convs, f"conv_blocks_localization.{stage}.", rest)
        fill(network.decoder.seg_layers[stage], f"seg_outputs.{stage}", rest, bias_may_miss=True)
    check_nothing_left(rest)
