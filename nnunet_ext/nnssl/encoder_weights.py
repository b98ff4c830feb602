"""The encoder in a checkpoint of nnssl, under the names that it has in nnU-Net's networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nnunet_ext.errors import UserError
from nnunet_ext.networks.parts import part_of
from nnunet_ext.weights.rules import shape_of
from nnunet_ext.weights.transfer import Fate, Transfer

KEY = "nnssl_adaptation_plan"  # of a checkpoint
ENCODER, STEM = "key_to_encoder", "key_to_stem"  # of an adaptation plan
NOT_TAKEN = "of a network of nnssl, encoder and stem are taken"
NOT_ASKED_FOR = "the knob fine_tune.transfer asks for the encoder alone"
# what is in the encoder of a ResidualEncoderUNet or PlainConvUNet, and in no transformer
OF_STAGE = re.compile(r"(?:stages\.)?(\d+\.(?:blocks\.\d+|0\.convs\.\d+)\..+)")
OF_STEM = re.compile(r"stem\.(convs\.\d+\..+)")
FIRST = ("encoder.stem.convs.0.conv.weight", "encoder.stages.0.0.convs.0.conv.weight")  # the convolution of the image
AGAIN = "decoder."  # a decoder of nnU-Net's lists the encoder again


@dataclass(frozen=True)
class EncoderWeights:
    """The tensors of a checkpoint, divided into those of the encoder and all others.

    Args:
        weights: Tensors of encoder and stem by their names in nnU-Net's networks: ``encoder.stages.0.blocks...``.
        names: The name in the file of each of them.
        left_out: All other tensors, by their names in the file.
        reason: Why these are left out.
    """

    weights: dict[str, Any]
    names: dict[str, str]
    left_out: dict[str, Any]
    reason: str = NOT_TAKEN

    @classmethod
    def of_network(cls, weights: Mapping[str, Any]) -> EncoderWeights:
        """Divide the tensors of a network of nnU-Net's, whose names stay.

        Args:
            weights: All tensors by name.
        """
        names = {name: name for name in weights if part_of(name) == "encoder"}
        taken = {name: weights[name] for name in names}
        others = {name: value for name, value in weights.items() if name not in names}
        return cls(taken, names, others, NOT_ASKED_FOR)

    @classmethod
    def read(cls, plan: Any, weights: Mapping[str, Any], place: object) -> EncoderWeights:
        """Find the encoder with ``key_to_encoder`` and ``key_to_stem`` of an adaptation plan.

        The stem of a plain U-Net is its first stage, so its key may begin with that of the encoder.

        Args:
            plan: The adaptation plan.
            weights: All tensors of the checkpoint, by name.
            place: The file, for messages.

        Raises:
            UserError: The plan does not name the encoder, or there is no convolutional encoder under that name, or none
                of its convolutions sees the image.

        Example:
            >>> plan = {"key_to_encoder": "student.stages"}
            >>> found = EncoderWeights.read(plan, {"student.stages.0.0.convs.0.conv.weight": 1, "head": 2}, "a.pth")
            >>> found.weights, found.left_out
            ({'encoder.stages.0.0.convs.0.conv.weight': 1}, {'head': 2})
        """
        content = plan if isinstance(plan, Mapping) else {}
        encoder, stem = content.get(ENCODER), content.get(STEM)
        if not isinstance(encoder, str) or not encoder:
            raise UserError(
                f"{place}: expected {KEY} with the name of the encoder under {ENCODER!r}, found {str(encoder)[:40]!r}. "
                f"Take the checkpoint as nnssl wrote it."
            )
        names = {}
        for name in weights:
            new = _new_name(str(name), encoder, stem if isinstance(stem, str) else "")
            if new is not None:
                names[new] = str(name)
        if not any(new.startswith("encoder.stages.") for new in names):
            raise UserError(
                f"{place}: expected the encoder of a ResidualEncoderUNet or PlainConvUNet under {encoder[:40]!r}, "
                f"found none: the network, {_network(content)}, is no U-Net, and its weights fit none. Take nnssl's "
                f"weights of a ResEnc-L (ResEncL) instead."
            )
        if names.keys().isdisjoint(FIRST):
            raise UserError(
                f"{place}: expected the first convolution, {' or '.join(FIRST)}, found none under the names in {KEY}. "
                f"Take the checkpoint as nnssl wrote it."
            )
        taken = set(names.values())
        return cls(
            {new: weights[name] for new, name in names.items()},
            names,
            {str(name): value for name, value in weights.items() if name not in taken},
        )

    def told(self, done: Transfer) -> Transfer:
        """Return what became of all tensors of the file, by their names in it.

        Args:
            done: What :func:`nnunet_ext.weights.transfer.transfer` said of :attr:`weights`.
        """
        unused = (
            Fate(name, None, "unused", self.reason, shape_of(value), None) for name, value in self.left_out.items()
        )
        return Transfer((*map(self._named, done.fates), *unused))

    def _named(self, fate: Fate) -> Fate:
        """Return a fate with the names of the file."""
        if fate.kind == "unused":
            return replace(fate, tensor=self.names[fate.tensor])
        if fate.source is None:
            return replace(fate, reason=self.reason) if fate.tensor in self.left_out else fate
        source = self.names[fate.source]
        moved = fate.kind == "loaded" and source != fate.source
        return replace(fate, source=source, kind="mapped" if moved else fate.kind)


def _new_name(name: str, encoder: str, stem: str) -> str | None:
    """Return the name of a tensor in nnU-Net's networks; None if it is not of the encoder."""
    for key, again in ((encoder, ""), (f"{AGAIN}{encoder}", AGAIN)):
        if name.startswith(f"{key}."):
            rest = name.removeprefix(f"{key}.")
            if match := OF_STAGE.fullmatch(rest):
                return f"{again}encoder.stages.{match[1]}"
            if match := OF_STEM.fullmatch(rest):
                return f"{again}encoder.stem.{match[1]}"
    for key, again in ((stem, ""), (f"{AGAIN}{stem}", AGAIN)):
        if stem and name.startswith(f"{key}."):
            match = OF_STEM.fullmatch(f"stem.{name.removeprefix(f'{key}.')}")
            return None if match is None else f"{again}encoder.stem.{match[1]}"
    return None


def _network(plan: Mapping[str, Any]) -> str:
    """Return the name of the network that was pre-trained."""
    described = plan.get("architecture_plans")
    name = described.get("arch_class_name") if isinstance(described, Mapping) else None
    return str(name)[:60] if name else "whose class is not named"
