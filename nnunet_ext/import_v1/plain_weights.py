"""Load the weights of nnU-Net v1's plain U-Net into v2's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import Tensor
from torch.nn import functional

from nnunet_ext.networks.v1_weights import check_nothing_left, fill, fill_blocks

CONV = re.compile(r"conv_blocks_(context|localization)\.(\d+)\..*\.conv\.weight")


def common_kernels(kernels: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the kernel size of each resolution in which v1's encoder and decoder kernels both fit.

    v1's decoder uses the kernel of the encoder stage below, v2's that of the same stage. Zeros around a smaller kernel
    do not change its results.

    Args:
        kernels: v1's kernel size of each encoder stage, full resolution first.
    """
    below = [*kernels[1:], kernels[-1]]
    return [[max(pair) for pair in zip(*both, strict=True)] for both in zip(kernels, below, strict=True)]


def load_v1_weights(network: PlainConvUNet, state_dict: Mapping[str, Tensor]) -> None:
    """Fill ``network``, in place, with a state dict of v1's ``Generic_UNet``.

    v1 has no bias in transposed convolutions and segmentation heads; v2's are set to 0, which is the same function, and
    so are the outer values of kernels that are larger in the network (:func:`common_kernels`).

    Args:
        network: Built from plans with plain convolutions.
        state_dict: v1's weights by their names.

    Raises:
        ValueError: A tensor is missing, left over or of another shape; the network is then partly filled.
    """
    kernels = [list(kernel) for kernel in network.encoder.kernel_sizes]
    rest = {name: _widened(name, tensor, kernels) for name, tensor in state_dict.items()}
    for stage, module in enumerate(network.encoder.stages):
        fill_blocks(module[0].convs, f"conv_blocks_context.{stage}.", rest)
    for stage, module in enumerate(network.decoder.stages):
        fill(network.decoder.transpconvs[stage], f"tu.{stage}", rest, bias_may_miss=True)
        fill_blocks(module.convs, f"conv_blocks_localization.{stage}.", rest)
        fill(network.decoder.seg_layers[stage], f"seg_outputs.{stage}", rest, bias_may_miss=True)
    check_nothing_left(rest)


def _widened(name: str, tensor: Tensor, kernels: Sequence[Sequence[int]]) -> Tensor:
    """Return the weights of a convolution with zeros around the kernel, if the network's is larger there."""
    match = CONV.fullmatch(name)
    if match is None:
        return tensor
    stage = int(match[2]) if match[1] == "context" else len(kernels) - 2 - int(match[2])
    if not 0 <= stage < len(kernels) or len(kernels[stage]) != tensor.ndim - 2:
        return tensor
    missing = [wanted - found for wanted, found in zip(kernels[stage], tensor.shape[2:], strict=True)]
    if min(missing) < 0 or any(number % 2 for number in missing):
        return tensor
    return functional.pad(tensor, [number // 2 for number in reversed(missing) for _ in range(2)])
