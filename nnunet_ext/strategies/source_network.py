"""The network of the model that a training starts from, whole and frozen, for the images of other data."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_ext.errors import UserError
from nnunet_ext.networks.parts import part_of
from nnunet_ext.weights.channels import partners
from nnunet_ext.weights.roles import Roles
from nnunet_ext.weights.rules import OTHER_STEM
from nnunet_ext.weights.transfer import transfer


class SourceNetwork:
    """A source's network with all of its own outputs; it does not train, and sees only the channels that it knows.

    Args:
        build: Makes the trainer's network for numbers of input channels and outputs, without deep supervision.
        file: The source's checkpoint, for messages.
        weights: Its weights.
        theirs: Its channels and outputs.
        ours: Channels of the images.
        device: Where it runs.

    Raises:
        UserError: It is not known what its channels or outputs are, the images lack one of its channels, or the
            trainer's network is not the source's, so that its tensors would not all be the source's.
    """

    def __init__(
        self,
        build: Callable[[int, int], nn.Module],
        file: Path,
        weights: Mapping[str, Any],
        theirs: Roles,
        ours: Sequence[str] | None,
        device: torch.device,
    ) -> None:
        if theirs.channels is None or theirs.outputs is None:
            raise UserError(
                f"{file}: expected a source whose channels and classes are known, found no dataset.json of one dataset "
                f"in it. Plan with nnunet_ext plan_finetune --from CHECKPOINT PLANS DATASET_JSON."
            )
        self.channels = _places(theirs.channels, ours, file)
        self._device = device
        network = build(len(theirs.channels), len(theirs.outputs))
        _fill(network, file, weights, theirs)
        self.network = network.to(device).eval().requires_grad_(False)

    def digest(self) -> str:
        """Return a hash of its weights."""
        found = hashlib.sha256()
        for name, tensor in (*self.network.named_parameters(), *self.network.named_buffers()):  # each once
            found.update(name.encode())
            found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return logits (B, O, D, H, W) of all outputs of the source, in the precision of nnU-Net's own steps.

        Args:
            images: (B, C, D, H, W), in the channels of the data.
        """
        with torch.autocast("cuda") if self._device.type == "cuda" else contextlib.nullcontext():
            found: Tensor = self.network(images[:, self.channels])
        return found


def _places(theirs: Sequence[str], ours: Sequence[str] | None, file: Path) -> list[int]:
    """Return for each channel of the source that of the images, by the rule of ``init_from``."""
    found = {number: place for place, number in partners(theirs, ours).items()}
    if not found and len(theirs) == len(ours or ()):
        return list(range(len(theirs)))  # by position, as of channels none of which has a partner
    if missing := [name for number, name in enumerate(theirs) if number not in found]:
        raise UserError(
            f"{file}: expected images with all channels of the source ({', '.join(theirs)}), to fill its classes in by "
            f"its network, found no {missing[0]!r} ({', '.join(ours or ()) or 'unknown'}). Add the channel, or set the "
            f"knob fine_tune.keep_unannotated to false."
        )
    return [found[number] for number in range(len(theirs))]


def _fill(network: nn.Module, file: Path, weights: Mapping[str, Any], theirs: Roles) -> None:
    """Give a network all weights of the source, as they are."""
    try:
        done = transfer(network, weights, source=theirs, target=theirs)
    except ValueError as error:
        raise UserError(f"{file}: {error}.") from error
    for fate in done.fates:
        taken = fate.kind in ("loaded", "mapped") and fate.shape == fate.source_shape
        # of a part that this network does not have, or for images of other tasks of a collection
        beside = part_of(fate.tensor) == "head" or fate.reason == OTHER_STEM
        if not (taken or (fate.kind == "unused" and beside)):
            raise UserError(
                f"{file}: expected weights of this trainer's network, whose predictions fill in the classes that were "
                f"not annotated, found another: {fate.tensor} {fate.reason or fate.kind}. Plan with nnunet_ext "
                f"plan_finetune, or set the knob fine_tune.keep_unannotated to false."
            )
