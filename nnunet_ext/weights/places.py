"""The distinct tensors of a state dict, by names that mean the same in every U-Net."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

DECODER = r"(?:.*\.)?\w*decoder\w*(?:\.\d+)?"  # boundary_decoder, further_decoders.0
ENCODER_AGAIN = re.compile(r"((?:.*\.)?)\w*decoder\w*(?:\.\d+)?\.(encoder\..+)")
BLOCK_PART = re.compile(r"(.*\.)?all_modules\.(\d+)\.(.+)")
PLAIN_STAGE = re.compile(r"((?:.*\.)?encoder\.stages\.\d+)\.\d+\.(convs\..+)")  # a pooling may come before the convs
SHORTCUT = re.compile(r"((?:.*\.)?encoder\..+\.skip)\.\d+\.(.+)")  # so in a residual block
STEM = re.compile(r"(.+\.conv)\.convs\.(\d+)\.(weight|bias)")
OF_LEVEL = re.compile(rf"({DECODER})\.(stages|transpconvs|seg_layers|boundary_layers)\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Place:
    """Where a tensor is in a network.

    Args:
        name: ``encoder.stages.0.convs.0.conv.weight``, ``decoder.stages.level 2.convs.0.conv.weight``: parts of a
            decoder are named by the level of the encoder that they belong to, 0 at full resolution.
        stem: Of the first convolution in a network with several, that for so many input channels; else None.
    """

    name: str
    stem: int | None = None


@dataclass(frozen=True)
class Entry:
    """One tensor (or other state) of a state dict.

    Args:
        place: Where it is.
        names: All its names in the state dict: nnU-Net's blocks and decoders register some modules twice.
        value: The tensor, or the state.
    """

    place: Place
    names: tuple[str, ...]
    value: Any


def entries_of_network(state: Mapping[str, Any]) -> dict[Place, Entry]:
    """Return the distinct tensors of a network's state dict; names that share memory are one tensor."""
    by_memory: dict[Any, list[str]] = defaultdict(list)
    for name, value in state.items():
        by_memory[_memory(value) or name].append(name)
    found: dict[Place, Entry] = {}
    places = _places(state)
    for names in by_memory.values():
        place = places[names[0]]
        if place in found:  # what is one tensor in nnU-Net's networks are two in this one
            place = Place(names[0])
        found[place] = Entry(place, tuple(names), state[names[0]])
    return found


def entries_of_file(weights: Mapping[str, Any], network: Mapping[Place, Entry]) -> dict[Place, Entry]:
    """Return the distinct tensors of a checkpoint; its names say which are one, as memory is not always shared there.

    Args:
        weights: The checkpoint's state dict.
        network: The distinct tensors of the network that it is for, which may keep apart what nnU-Net's do not.

    Raises:
        ValueError: One tensor has different values under two names.
    """
    apart = {name: entry.place for entry in network.values() for name in entry.names if entry.place == Place(name)}
    by_place: dict[Place, list[str]] = defaultdict(list)
    for name, place in _places(weights).items():
        by_place[apart.get(name, place)].append(name)
    for names in by_place.values():
        for other in names[1:]:
            if not same(weights[names[0]], weights[other]):
                raise ValueError(
                    f"expected one tensor under the names {names[0]!r} and {other!r}, found different values. Use a "
                    f"checkpoint as nnU-Net wrote it"
                )
    return {place: Entry(place, tuple(names), weights[names[0]]) for place, names in by_place.items()}


def same(one: Any, other: Any) -> bool:
    """Whether two tensors are equal, also where they are not a number."""
    if one is other:
        return True
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return type(one) is type(other) and bool(one == other)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if (memory := _memory(one)) is not None and memory == _memory(other):
        return True
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def _memory(value: Any) -> tuple[Any, ...] | None:
    if not isinstance(value, torch.Tensor) or value.numel() == 0 or value.is_meta:
        return None
    return value.data_ptr(), value.device, value.dtype, value.shape, value.stride()


def _places(state: Mapping[str, Any]) -> dict[str, Place]:
    once = {name: _once(name, state) for name in state}
    lengths = _lengths(once.values())
    return {name: _place(first, lengths) for name, first in once.items()}


def _once(name: str, state: Mapping[str, Any]) -> str:
    """Return the first of the names that nnU-Net's networks give one tensor."""
    if match := BLOCK_PART.fullmatch(name):
        block, part, rest = match[1] or "", int(match[2]), match[3]
        parts = [f"{block}{part}.{rest}" for part in ("norm", "nonlin")] if part else [f"{block}conv.{rest}"]
        there = [other for other in parts if other in state]
        name = next((other for other in there if same(state[other], state[name])), (there or parts)[0])
    if match := ENCODER_AGAIN.fullmatch(name):
        name = match[1] + match[2]
    return name


def _lengths(names: Iterable[str]) -> dict[tuple[str, str], int]:
    """Return how many stages, transposed convolutions and heads each decoder has."""
    lengths: dict[tuple[str, str], int] = defaultdict(int)
    for match in filter(None, map(OF_LEVEL.fullmatch, names)):
        lengths[match[1], match[2]] = max(lengths[match[1], match[2]], int(match[3]) + 1)
    return lengths


def _place(name: str, lengths: Mapping[tuple[str, str], int]) -> Place:
    if (match := PLAIN_STAGE.fullmatch(name)) or (match := SHORTCUT.fullmatch(name)):
        name = f"{match[1]}.{match[2]}"
    elif match := OF_LEVEL.fullmatch(name):
        level = lengths[match[1], match[2]] - 1 - int(match[3])
        name = f"{match[1]}.{match[2]}.level {level}.{match[4]}"
    if match := STEM.fullmatch(name):
        return Place(f"{match[1]}.{match[3]}", int(match[2]))
    return Place(name)
