"""Which value of a file a tensor of a network takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_ext.weights.absence import why_absent
from nnunet_ext.weights.channels import fitted_channels
from nnunet_ext.weights.heads import fitted_rows
from nnunet_ext.weights.kernels import fitted_kernel
from nnunet_ext.weights.places import Entry, Place, same
from nnunet_ext.weights.roles import Roles

STEM = "encoder.stem.convs.0.conv.weight"
# without a stem, the image goes into the first stage
FIRST = re.compile(r"encoder\.stages\.0\.(convs\.0|blocks\.0\.(conv1|skip))\.conv\.weight")
NORM = re.compile(r"(.+\.norm)\.\w+")
PROMPT = "prompt"  # UniSeg's; the chosen task's is the last input channel of the first transposed convolution
PROMPTED = "decoder.transpconvs.0.weight"
OTHER_STEM = "the network has no first convolution for so many channels"
PART_LEFT_OUT = "of a part that does not fit as a whole"
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Decision:
    """What one tensor takes.

    Args:
        candidate: The file's tensor at its place, or None.
        value: What is taken; means nothing if nothing is.
        reason: Why, in words.
        taken: Whether anything is.
        unchanged: Whether it is the file's tensor as it is.
    """

    candidate: Entry | None
    value: Any = None
    reason: str = ""
    taken: bool = False
    unchanged: bool = False


class Rules:
    """The rules between one network and one file.

    Args:
        network: The network.
        ours: Its distinct tensors.
        theirs: Those of the file.
        source: Roles in the file's network.
        target: Roles in the network.
        channel_rule: One of :data:`nnunet_ext.weights.channels.CHANNEL_RULES`.
        head_rule: One of :data:`nnunet_ext.weights.heads.HEAD_RULES`.
    """

    def __init__(
        self,
        network: nn.Module,
        ours: Mapping[Place, Entry],
        theirs: Mapping[Place, Entry],
        source: Roles,
        target: Roles,
        channel_rule: str,
        head_rule: str = "match",
    ) -> None:
        self.theirs = theirs
        self._head_rule = head_rule
        self._ours, self._source, self._target, self._channel_rule = ours, source, target, channel_rule
        self._modules = dict(network.named_modules())
        self._our_names = {place.name for place in ours}
        self._their_names = {place.name for place in theirs}
        self._our_dims, self._their_dims = _dims(ours), _dims(theirs)

    def decide(self, entry: Entry, adopted: Mapping[str, Any] | None) -> Decision:
        """Return what a tensor of the network takes.

        Args:
            entry: The tensor.
            adopted: What the network's own ``adopt`` made of the file's weights, or None.
        """
        candidate = self._candidate(entry)
        if self._other_dims():
            return Decision(candidate, reason=f"the file's network is {self._their_dims}d, this one {self._our_dims}d")
        if adopted is not None:
            moved = self._moved(entry, candidate, adopted)
            if moved is not None:
                return moved
            if candidate is not None and adopted.keys().isdisjoint(candidate.names):
                return Decision(candidate, reason=f"the file has {shape_of(candidate.value)}, {PART_LEFT_OUT}")
        if candidate is None:
            return Decision(None, reason=why_absent(entry.place.name, self._their_names, "the network", "the file"))
        if (reason := self._other_norm(entry.place)) is not None:
            return Decision(candidate, reason=reason)
        if not (isinstance(entry.value, Tensor) and isinstance(candidate.value, Tensor)):
            if type(entry.value) is type(candidate.value):
                return Decision(candidate, candidate.value, taken=True, unchanged=True)
            return Decision(candidate, reason=f"{shape_of(candidate.value)} in the file, {shape_of(entry.value)} here")
        return self._fitted(entry, candidate)

    def why_unused(self, entry: Entry, adopted: Mapping[str, Any] | None) -> str:
        """Return why nothing asks for a tensor of the file."""
        if adopted is not None and adopted.keys().isdisjoint(entry.names):
            return PART_LEFT_OUT
        if entry.place.name in self._our_names:
            return OTHER_STEM
        if self._other_dims():
            return f"the file's network is {self._their_dims}d, this one {self._our_dims}d"
        return why_absent(entry.place.name, self._our_names, "the file", "the network")

    def _candidate(self, entry: Entry) -> Entry | None:
        """Return the file's tensor at a place, of several first convolutions that for the nearest channel number."""
        place = entry.place
        if place in self.theirs:
            return self.theirs[place]
        there = [other for other in self.theirs.values() if other.place.name == place.name]
        wanted = place.stem or self._channels_of(entry)
        stems = [other.place.stem or wanted for other in there]
        nearest = min(range(len(there)), key=lambda number: (abs(stems[number] - wanted), stems[number]), default=None)
        return None if nearest is None else there[nearest]

    def _channels_of(self, entry: Entry) -> int:
        """Return the input channels of the convolution that a weight or bias belongs to, or 0."""
        weight = self._ours.get(Place(re.sub(r"bias$", "weight", entry.place.name)))
        return weight.value.shape[1] if weight is not None and weight.value.ndim > 1 else 0

    def _moved(self, entry: Entry, candidate: Entry | None, adopted: Mapping[str, Any]) -> Decision | None:
        """Return what ``adopt`` made for a tensor; not if the file's tensor of that name belongs to another level."""
        for name in entry.names:
            made = adopted.get(name)
            theirs = next((other for other in self.theirs.values() if name in other.names), None)
            if made is None or (theirs is not None and (same(made, theirs.value) or theirs.place != entry.place)):
                continue
            if shape_of(made) == shape_of(entry.value):
                return Decision(candidate, made, "moved to where the tasks are now", taken=True)
        return None

    def _other_dims(self) -> bool:
        return None not in (self._our_dims, self._their_dims) and self._our_dims != self._their_dims

    def _other_norm(self, place: Place) -> str | None:
        match = NORM.fullmatch(place.name)
        if match is None:
            return None
        ours, theirs = (f"{match[1]}.running_mean" in names for names in (self._our_names, self._their_names))
        kinds = ("another norm than batch norm", "batch norm")
        return None if ours == theirs else f"the file has {kinds[theirs]}, the network {kinds[ours]}"

    def _fitted(self, entry: Entry, candidate: Entry) -> Decision:
        """Fit kernel, inputs and rows, one after the other."""
        value, done = candidate.value, []
        module = self._modules.get(entry.names[0].rpartition(".")[0])
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)) and value.ndim == entry.value.ndim > 2:
            size = tuple(entry.value.shape[2:])
            if tuple(value.shape[2:]) != size:
                found = fitted_kernel(value, size, transposed=isinstance(module, TRANSPOSED))
                if found is None:
                    return Decision(candidate, reason=_misfit(entry.value, value))
                value = found[0]
                done.append(found[1])
        for fit in (self._inputs, self._prompted, self._rows):
            fitted, told = fit(entry, candidate, value)
            if fitted is None:
                return Decision(candidate, reason=told or _misfit(entry.value, candidate.value))
            value = fitted
            done.append(told)
        if value.shape != entry.value.shape:
            return Decision(candidate, reason=_misfit(entry.value, value))
        unchanged = same(value, candidate.value)
        return Decision(candidate, value, "; ".join(filter(None, done)), taken=True, unchanged=unchanged)

    def _inputs(self, entry: Entry, candidate: Entry, value: Tensor) -> tuple[Tensor | None, str]:
        """Fit the channels of a convolution that sees the image."""
        if not self._sees_image(entry.place.name) or value.ndim != entry.value.ndim:
            return value, ""
        theirs, ours, wanted = self._source.channels, self._target.channels, entry.value.shape[1]
        found = fitted_channels(value, wanted, self._channel_rule, theirs, ours)
        if found is None:
            return None, "the rule for input channels is 'fresh'"
        several = candidate.place.stem is not None and candidate.place.stem != entry.place.stem
        stem = f"first convolution for {value.shape[1]} channels" if several else ""
        return found[0], "; ".join(filter(None, (stem, found[1])))

    def _sees_image(self, name: str) -> bool:
        return name == STEM if STEM in self._our_names else FIRST.fullmatch(name) is not None

    def _prompted(self, entry: Entry, candidate: Entry, value: Tensor) -> tuple[Tensor | None, str]:
        """Fit the transposed convolution that may have the prompt as its last input channel."""
        ours = PROMPT in self._our_names and PROMPTED in entry.names
        theirs = PROMPT in self._their_names and PROMPTED in candidate.names
        if ours == theirs:
            return value, ""
        features = min(len(entry.value) - ours, len(value) - theirs)
        if len(entry.value) - ours != len(value) - theirs or value.shape[1:] != entry.value.shape[1:]:
            return value, ""
        if theirs:
            return value[:features], "without the prompt's channel, the last"
        fresh = entry.value[features:].detach()
        return torch.cat((value.to(fresh), fresh)), "the prompt's channel, the last, is new"

    def _rows(self, entry: Entry, candidate: Entry, value: Tensor) -> tuple[Tensor | None, str]:
        """Fit the rows of a segmentation head."""
        if "seg_layers" not in entry.place.name.split(".") or value.ndim == 0:
            return value, ""
        if self._head_rule == "fresh":
            return None, "the rule for segmentation heads is 'fresh'"
        return fitted_rows(entry.value, value, self._source, self._target)


def shape_of(value: Any) -> tuple[int, ...] | str:
    """Return a tensor's shape, or the type of another state."""
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _dims(entries: Mapping[Place, Entry]) -> int | None:
    """Return how many axes an encoder's images have, or None if it has no convolutions that tell it."""
    for place, entry in entries.items():
        if re.match(r"encoder\..*conv\.weight$", place.name) and getattr(entry.value, "ndim", 0) in (4, 5):
            return int(entry.value.ndim) - 2
    return None


def _misfit(own: Tensor, found: Tensor) -> str:
    """Return how two shapes differ."""
    if own.ndim != found.ndim or own.ndim not in (1, 2, 4, 5):
        return f"the file has {shape_of(found)}"
    if own.ndim == 1:
        return f"width {len(found)} in the file, {len(own)} here"
    if own.shape[2:] != found.shape[2:]:
        kernels = ("x".join(map(str, tensor.shape[2:])) for tensor in (found, own))
        return "kernel {} in the file, {} here, for which there is no rule".format(*kernels)
    before, now = ("{} and {}".format(*tensor.shape[:2]) for tensor in (found, own))
    return f"widths {before} in the file, {now} here"
