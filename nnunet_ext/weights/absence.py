"""Why a network has no tensor at some place, in words."""

from __future__ import annotations

import re
from collections.abc import Collection

KINDS = {"convs": "plain", "blocks": "residual"}
STAGE = re.compile(r"encoder\.stages\.(\d+)\.(convs|blocks)\.(\d+)\..+")
STEM = re.compile(r"encoder\.stem\..+")
LEVEL = re.compile(r"(.+)\.(stages|transpconvs|seg_layers|boundary_layers)\.level (\d+)\.(.+)")
CONVOLUTION = re.compile(r"convs\.(\d+)\..+")
PART = re.compile(r"(.+)\.(weight|bias|running_mean|running_var|num_batches_tracked)")


def why_absent(name: str, there: Collection[str], here: str, other: str) -> str:
    """Return why a tensor of one network has no counterpart in another one.

    Args:
        name: Name of its place (:class:`nnunet_ext.weights.places.Place`).
        there: Names of all places in the other network.
        here: What the network with the tensor is called, "the file".
        other: What the other one is called, "the network".

    Example:
        >>> from nnunet_ext.weights.absence import why_absent
        >>> there = ["encoder.stages.0.convs.0.conv.weight", "encoder.stages.1.convs.0.conv.weight"]
        >>> why_absent("encoder.stages.2.convs.0.conv.weight", there, "the file", "the network")
        'the network has 2 stages'
    """
    if match := STAGE.fullmatch(name):
        kinds, stages, blocks = _encoder(there)
        if kinds and match[2] not in kinds:
            return f"{here} has a {KINDS[match[2]]} encoder, {other} a {KINDS[kinds.pop()]} one"
        if stages and int(match[1]) >= stages:
            return f"{other} has {stages} stages"
        found = blocks.get(int(match[1]), 0)
        if found and int(match[3]) >= found:
            return f"{other} has only {found} {match[2]} in this stage"
    elif STEM.fullmatch(name) and "convs" in _encoder(there)[0]:
        return f"{here} has a residual encoder, {other} a plain one"
    elif reason := _no_level(name, there, other):
        return reason
    return _no_part(name, there, other)


def _encoder(names: Collection[str]) -> tuple[set[str], int, dict[int, int]]:
    """Return the kinds of an encoder's stages, their number and how many blocks or convolutions each has."""
    kinds, blocks = set(), dict[int, int]()
    for match in filter(None, map(STAGE.fullmatch, names)):
        kinds.add(match[2])
        blocks[int(match[1])] = max(blocks.get(int(match[1]), 0), int(match[3]) + 1)
    return kinds, max(blocks, default=-1) + 1, blocks


def _no_level(name: str, there: Collection[str], other: str) -> str | None:
    """Return why a part of a decoder has no counterpart; None if it is no such part, or for another reason."""
    place = LEVEL.fullmatch(name)
    if place is None:
        return None
    decoder, part, level, rest = place[1], place[2], int(place[3]), place[4]
    levels = {match[3] for match in map(LEVEL.fullmatch, there) if match and (match[1], match[2]) == (decoder, part)}
    if not levels:
        return None
    if str(level) not in levels:
        stages = _encoder(there)[1]
        return f"{other} has {stages} stages" if level >= stages - 1 else f"{other} has no {part} at level {level}"
    if match := CONVOLUTION.fullmatch(rest):
        start = f"{decoder}.{part}.level {level}.convs."
        found = len({name[len(start) :].split(".")[0] for name in there if name.startswith(start)})
        if int(match[1]) >= found:
            return f"{other} has only {found} convs in this stage"
    return None


def _no_part(name: str, there: Collection[str], other: str) -> str:
    """Return why a module of the other network lacks a tensor, or that there is no such module."""
    match = PART.fullmatch(name)
    if match and any(known.startswith(f"{match[1]}.") for known in there):
        return f"{other} has no {match[2]} here"
    block = name.rpartition(".norm.")[0]
    if block and any(known.startswith(f"{block}.conv.") for known in there):
        return f"{other} has no norm here"
    return f"not in {other}"
