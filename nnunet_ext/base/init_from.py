"""Start a network from another one's checkpoint, and say of every tensor what happened to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from torch import nn

from nnunet_ext.errors import UserError
from nnunet_ext.nnssl.encoder_weights import KEY, EncoderWeights
from nnunet_ext.weights.class_matching import BY_NAME, FRESH, ClassMatching, matched_roles
from nnunet_ext.weights.roles import restores_images, roles_in
from nnunet_ext.weights.source_checkpoint import source_checkpoint
from nnunet_ext.weights.task_heads import task_heads
from nnunet_ext.weights.transfer import Transfer, transfer

PLACE = "knob 'init_from_classes'"


def init_from(
    network: nn.Module,
    checkpoint_file: str,
    weights_of: Callable[[dict[str, Any]], Mapping[str, Any]] = itemgetter("network_weights"),
    init_args: Mapping[str, Any] | None = None,
    classes: ClassMatching = BY_NAME,
    parts: str = "all",
) -> Transfer:
    """Fill a network, in place, with what fits of a checkpoint (:func:`nnunet_ext.weights.transfer.transfer`).

    nnU-Net's own ``-pretrained_weights`` is all or nothing, and always leaves the heads out. This function takes what
    it can, and matches channels and heads by name if the checkpoint says what they are.

    Args:
        network: The bare network (not wrapped by DDP or torch.compile).
        checkpoint_file: A checkpoint of nnU-Net, stock or ours; one of nnssl, of which encoder and stem are taken; or a
            file with nothing but weights: tensors by name, alone or under the key ``state_dict``. ``~`` and
            ``$VARIABLES`` are expanded. No code in it is run.
        weights_of: Takes the weights from the checkpoint, may change their shapes to the network's, and may leave out
            what would not work there.
        init_args: Arguments of the network's trainer, with ``plans``, ``configuration`` and ``dataset_json``; None: the
            network's channels and labels are unknown.
        classes: Which rows of the heads are taken (:mod:`nnunet_ext.weights.class_matching`); none of a network that
            restores images.
        parts: ``all``, or ``encoder``: nothing else is taken.

    Returns:
        Every tensor's fate.

    Raises:
        UserError: The file is missing or broken, holds no weights or two values of one tensor, or no tensor fits; or
            ``classes`` names unknown classes, or the network is that of a collection, whose heads belong to tasks.
    """
    file, checkpoint = source_checkpoint(checkpoint_file)
    encoder = None
    of_source = checkpoint.get("init_args")
    restores = restores_images(of_source)
    if checkpoint.get(KEY) is not None and not restores:  # a pre-training of ours has the whole network
        encoder = EncoderWeights.read(checkpoint[KEY], checkpoint["network_weights"], file)
        checkpoint |= {"network_weights": encoder.weights}
    in_file = checkpoint["network_weights"]
    offered = weights_of(checkpoint)
    adopted = None if offered is in_file else offered
    if classes != BY_NAME and adopted is not None:
        raise UserError(
            f"{PLACE}: expected {BY_NAME!r} for a collection, whose heads go by the names of its tasks, got "
            f"{classes!r}. Leave it out."
        )
    target = roles_in(init_args)
    source = matched_roles(roles_in(of_source), target, classes, PLACE)
    if adopted is None and isinstance(of_source, Mapping):
        in_file = task_heads(in_file, of_source.get("plans"))
    if parts == "encoder" and encoder is None:
        encoder = EncoderWeights.of_network(in_file)
        in_file = encoder.weights
        adopted = None if adopted is None else {name: value for name, value in adopted.items() if name in in_file}
    heads = "fresh" if classes == FRESH or restores or restores_images(init_args) else "match"
    try:
        done = transfer(network, in_file, source=source, target=target, adopted=adopted, head_rule=heads)
    except ValueError as error:
        raise UserError(f"{file}: {error}.") from error
    if not done.took_anything:
        reason = next((fate.reason for fate in done.fates if fate.source is not None), "no name is the network's")
        raise UserError(
            f"{file}: expected tensors that fit the network, found none ({reason}). Use a checkpoint of similar plans."
        )
    return done if encoder is None else encoder.told(done)
