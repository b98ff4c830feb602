"""Load the weights of the authors' BA-Net (on nnU-Net v1) into ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from nnunet_ext.methods.ba_net.architecture import BANet
from nnunet_ext.networks.v1_weights import check_nothing_left, fill, fill_blocks


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
        fill_blocks(module[0].convs, f"conv_blocks_context.{stage}.", rest)
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
            fill(decoder.transpconvs[stage], f"{upsampling}.{stage}", rest, bias_may_miss=True)
            fill_blocks(decoder.stages[stage].convs, f"{blocks}.{stage}.", rest)
            fill(own_heads[stage], f"{heads}.{stage}", rest, bias_may_miss=True)
    check_nothing_left(rest)
