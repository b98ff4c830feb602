"""Fill a network with the weights of another one, and say of every tensor what happened to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import nn

from nnunet_ext.errors import UserError, nearest
from nnunet_ext.weights.channels import CHANNEL_RULES
from nnunet_ext.weights.heads import HEAD_RULES
from nnunet_ext.weights.places import Entry, Place, entries_of_file, entries_of_network
from nnunet_ext.weights.roles import Roles
from nnunet_ext.weights.rules import Decision, Rules, shape_of

Kind = Literal["loaded", "mapped", "fresh", "unused"]
KINDS: tuple[Kind, ...] = ("loaded", "mapped", "fresh", "unused")
FORMAT = 1  # of the JSON


@dataclass(frozen=True)
class Fate:
    """What happened to one tensor.

    Args:
        tensor: Its name in the network; of an unused one, that in the file.
        source: Name in the file of what it took, or of what it did not take; None if there is nothing.
        kind: ``loaded`` as it is; ``mapped`` from another name or with other values, as ``reason`` says; ``fresh``: as
            the network was initialized; ``unused``: of the file, and nothing took it.
        reason: Why, in words; empty if there is nothing to say.
        shape: Of ``tensor``; the type of a state that is no tensor.
        source_shape: Of ``source``.
    """

    tensor: str
    source: str | None
    kind: Kind
    reason: str
    shape: tuple[int, ...] | str
    source_shape: tuple[int, ...] | str | None

    def line(self) -> str:
        """Return one line: kind, name, shape, and why."""
        other = "" if self.source in (None, self.tensor) else f"{self.source} in the file"
        if self.kind == "mapped" and other and self.source_shape != self.shape:
            other += f" {self.source_shape}"
        told = "; ".join(filter(None, (other if self.kind == "mapped" else "", self.reason)))
        return f"{self.kind:<7} {self.tensor} {self.shape}{f': {told}' if told else ''}"


@dataclass(frozen=True)
class Transfer:
    """What became of all tensors of a network and of the weights that it was filled with.

    Args:
        fates: One for every name in the network's state dict, in its order, then one for every name of the weights
            that is no other fate's ``source``.
    """

    fates: tuple[Fate, ...]

    def count(self, kind: Kind) -> int:
        """Return how many names have this fate."""
        return Counter(fate.kind for fate in self.fates)[kind]

    @property
    def took_anything(self) -> bool:
        """Whether any tensor was filled."""
        return bool(self.count("loaded") + self.count("mapped"))

    def summary(self) -> str:
        """Return ``104 of 108 tensors loaded, 2 mapped, 2 fresh, 2 unused``; names of one tensor count separately."""
        own = sum(fate.kind != "unused" for fate in self.fates)
        further = [f", {self.count(kind)} {kind}" for kind in KINDS[1:] if self.count(kind)]
        return f"{self.count('loaded')} of {own} tensors loaded{''.join(further)}"

    def lines(self) -> list[str]:
        """Return one line for each fate."""
        return [fate.line() for fate in self.fates]

    def as_json(self) -> dict[str, Any]:
        """Return format, counts and fates for a JSON file."""
        counts = {kind: self.count(kind) for kind in KINDS}
        return {"format": FORMAT, "counts": counts, "tensors": [asdict(fate) for fate in self.fates]}


def transfer(
    network: nn.Module,
    weights: Mapping[str, Any],
    *,
    source: Roles | None,
    target: Roles | None,
    channel_rule: str = "match",
    adopted: Mapping[str, Any] | None = None,
    head_rule: str = "match",
) -> Transfer:
    """Fill a network, in place, with what fits of another one's weights; docs/weights.md has the rules.

    Args:
        network: The network, neither compiled nor wrapped by DDP.
        weights: State dict of the other one.
        source: Input channels and outputs of the other one; None: not known.
        target: Those of the network; None: not known.
        channel_rule: What the first convolution does with other input channels: "match", "mean", "copy" or "fresh"
            (:func:`nnunet_ext.weights.channels.fitted_channels`).
        adopted: What :meth:`TaskNetwork.adopt` made of the weights. What it changed is taken first, what it left out is
            not offered at all.
        head_rule: What segmentation heads do: "match" (:func:`nnunet_ext.weights.heads.fitted_rows`) or "fresh".

    Returns:
        Every tensor's fate.

    Raises:
        UserError: No such ``channel_rule`` or ``head_rule``.
        ValueError: The weights have different values under two names of one tensor.

    Example:
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> from torch import nn
        >>> from nnunet_ext.weights.roles import Roles
        >>> from nnunet_ext.weights.transfer import transfer
        >>> def unet(channels, classes):
        ...     return PlainConvUNet(channels, 3, (8, 16, 32), nn.Conv3d, 3, (1, 2, 2), 1, classes, 1)
        >>> old = Roles(channels=("CT",), outputs=("background", "liver"))
        >>> new = Roles(channels=("CT", "PET"), outputs=("background", "tumour", "liver"))
        >>> done = transfer(unet(2, 3), unet(1, 2).state_dict(), source=old, target=new)
        >>> print(done.fates[0].line())
        mapped  encoder.stages.0.0.convs.0.conv.weight (8, 2, 3, 3, 3): channels CT by name; PET: mean of the file
        >>> print(done.fates[-1].line())
        mapped  decoder.seg_layers.1.bias (3,): rows by name: background, liver; new: tumour
    """
    if channel_rule not in CHANNEL_RULES:
        legal = nearest(channel_rule, CHANNEL_RULES)
        raise UserError(f"channel_rule: expected a rule for input channels, got {channel_rule!r}. {legal}")
    if head_rule not in HEAD_RULES:
        legal = nearest(head_rule, HEAD_RULES)
        raise UserError(f"head_rule: expected a rule for segmentation heads, got {head_rule!r}. {legal}")
    own = network.state_dict()
    ours = entries_of_network(own)
    theirs = entries_of_file(weights, ours)
    rules = Rules(network, ours, theirs, source or Roles(), target or Roles(), channel_rule, head_rule)
    decisions = {place: rules.decide(entry, adopted) for place, entry in ours.items()}
    filled: dict[str, Any] = {}
    fates: dict[str, Fate] = {}
    for place, decision in decisions.items():
        names = ours[place].names
        fates |= {name: _fate(name, number, ours[place], decision) for number, name in enumerate(names)}
        if decision.taken:
            filled |= dict.fromkeys(names, decision.value)
    network.load_state_dict(filled, strict=False)
    used = {fate.source for fate in fates.values() if fate.kind in ("loaded", "mapped")}
    reasons = _reasons_of_unused(decisions, rules, adopted)
    entry_of = {name: entry for entry in theirs.values() for name in entry.names}
    unused = [
        Fate(name, None, "unused", reasons[entry_of[name].place], shape_of(value), None)
        for name, value in weights.items()
        if name not in used
    ]
    return Transfer((*(fates[name] for name in own), *unused))


def _fate(name: str, number: int, entry: Entry, decision: Decision) -> Fate:
    """Return the fate of one of the names of a tensor, which has the same number among the file's names if there."""
    candidate = decision.candidate
    source = None
    if candidate is not None:
        names = candidate.names
        source = name if name in names else names[min(number, len(names) - 1)]
    kind: Kind = "fresh"
    if decision.taken:
        kept_name = candidate is not None and not set(candidate.names).isdisjoint(entry.names)
        kind = "loaded" if decision.unchanged and kept_name else "mapped"
    shape = None if candidate is None else shape_of(candidate.value)
    return Fate(name, source, kind, decision.reason, shape_of(entry.value), shape)


def _reasons_of_unused(
    decisions: Mapping[Place, Decision], rules: Rules, adopted: Mapping[str, Any] | None
) -> dict[Place, str]:
    """Return for every tensor of the file why it is unused, or the tensor that it repeats if it was taken."""
    reasons = {}
    refused = {}
    for decision in decisions.values():
        if decision.candidate is not None:
            if decision.taken:
                reasons[decision.candidate.place] = f"the same tensor as {decision.candidate.names[0]}"
            else:
                refused[decision.candidate.place] = decision.reason
    return {place: rules.why_unused(entry, adopted) for place, entry in rules.theirs.items()} | refused | reasons
