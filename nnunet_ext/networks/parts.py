"""Which part of a segmentation network a parameter belongs to, told from its name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, TypeAlias

Part: TypeAlias = Literal["encoder", "decoder", "head"]
PARTS: tuple[Part, ...] = ("encoder", "decoder", "head")


def part_of(name: str) -> Part:
    """Return the part that a parameter or module belongs to.

    * encoder: all of ``encoder``, also under its second name, ``decoder.encoder``;
    * decoder: all of ``decoder`` but its segmentation layers;
    * head: every segmentation layer (``seg_layers``), and whatever is neither in encoder nor in decoder: what a
      method adds to the U-Net, such as DoDNet's controller, UniSeg's prompt or BA-Net's boundary decoder.

    Args:
        name: As in ``named_parameters()`` or in a state dict, without the prefixes of DDP and torch.compile.

    Example:
        >>> from nnunet_ext.networks.parts import part_of
        >>> [part_of(name) for name in ("decoder.encoder.stages.0.0.convs.0.conv.weight", "decoder.seg_layers.1.bias")]
        ['encoder', 'head']
    """
    names = name.split(".")
    if "seg_layers" in names:
        return "head"
    if names[0] == "encoder" or names[:2] == ["decoder", "encoder"]:
        return "encoder"
    return "decoder" if names[0] == "decoder" else "head"


def levels_of(names: Iterable[str]) -> dict[str, int]:
    """Return how many levels each parameter of a network is from the output, for rates that fall with the depth.

    Heads are at level 0. The decoder's stages follow from full resolution downwards, each with the upsampling before
    it, then the encoder's from the lowest resolution up to the first stage, which a residual encoder's stem belongs to.
    With S stages in the encoder, these are levels 1 to S - 1 and S to 2 S - 1.

    Args:
        names: Of all parameters of the network.
    """
    names = list(names)
    found = {
        name: int(number[1]) for name in names if (number := re.search(r"\.(?:stages|transpconvs)\.(\d+)\.", name))
    }
    stages = 1 + max((number for name, number in found.items() if part_of(name) == "encoder"), default=0)
    levels = {}
    for name in names:
        part = part_of(name)
        if part == "encoder":
            levels[name] = 2 * stages - 1 - found.get(name, 0)
        else:
            levels[name] = 0 if part == "head" else stages - 1 - found.get(name, stages - 2)
    return levels
