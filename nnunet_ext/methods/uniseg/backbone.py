"""The U-Net inside a UniSeg model, as a checkpoint that plain nnU-Net takes."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.base.checkpoints import read_trained
from nnunet_ext.base.knobs import resolve
from nnunet_ext.collection.task_table import BLOCK, TaskTable
from nnunet_ext.errors import UserError, is_write_error, one_line
from nnunet_ext.files.json_file import whole_file
from nnunet_ext.weights.transfer import transfer

TRAINER = "UniSegTrainer"


def export_backbone(source: Path, target: Path, channels: int) -> None:
    """Write encoder, decoder and heads of a UniSeg checkpoint as one of stock nnU-Net.

    The first convolution is that for ``channels`` image channels. Prompt and FUSE are left out, and with them the
    prompt channel of the first transposed convolution. ``nnUNetv2_train ... -pretrained_weights`` takes the file for
    plans of the same topology; it leaves the heads out, as for every pretrained model.

    Args:
        source: Checkpoint of UniSegTrainer.
        target: The file to write.
        channels: Number of image channels.

    Raises:
        UserError: Another trainer's checkpoint, no such stem, decoder kernels that stock nnU-Net does not have, or
            plans that may run code.
    """
    checkpoint = read_trained(source)
    if checkpoint["trainer_name"] != TRAINER:
        raise UserError(
            f"{source}: expected a checkpoint of {TRAINER}, found one of {checkpoint['trainer_name']}. Give one of "
            f"{TRAINER}; stock checkpoints need no export."
        )
    arguments = checkpoint["init_args"]
    plans, configuration = arguments["plans"], arguments["configuration"]
    table = TaskTable.read(plans)
    assert table is not None
    if channels not in table.channel_numbers:
        known = ", ".join(map(str, table.channel_numbers))
        raise UserError(
            f"--channels {channels}: expected a number of channels that {table.collection} was trained with, {known}. "
            f"Give one of them."
        )
    if resolve(plans, configuration)["uniseg"]["v1_decoder_kernels"]:
        raise UserError(
            f"{source}: expected decoder kernels of nnU-Net v2, found v1's (knob uniseg.v1_decoder_kernels), which no "
            f"stock network has. Export a model that was trained without this knob."
        )
    stock = {key: value for key, value in plans.items() if key != BLOCK}
    manager = PlansManager(deepcopy(stock))
    network = nnUNetTrainer.build_network_architecture(
        manager, manager.get_configuration(configuration), channels, table.max_heads, enable_deep_supervision=True
    )
    try:
        done = transfer(network, checkpoint["network_weights"], source=None, target=None)
    except ValueError as error:
        raise UserError(f"{source}: {error}.") from error
    if fresh := [fate for fate in done.fates if fate.kind == "fresh"]:
        raise UserError(
            f"{source}: expected the weights of the U-Net in its plans, but {fresh[0].tensor} is not there "
            f"({fresh[0].reason}). Give the checkpoint as {TRAINER} wrote it."
        )
    exported = {
        "network_weights": network.state_dict(),
        "trainer_name": nnUNetTrainer.__name__,
        "init_args": arguments | {"plans": stock},
        "inference_allowed_mirroring_axes": checkpoint.get("inference_allowed_mirroring_axes"),
        "exported_from": {"collection": table.collection, "trainer": TRAINER, "plans": plans["plans_name"]},
    }
    try:
        with whole_file(target, new=True) as partial:
            torch.save(exported, partial)
    except FileExistsError as error:
        raise UserError(f"{target}: expected no such file yet, found one. Choose another.") from error
    except RuntimeError as error:
        if not is_write_error(error):
            raise
        raise UserError(
            f"{target}: expected to write a checkpoint, got {one_line(error)!r}. Free space, or choose another place."
        ) from error
