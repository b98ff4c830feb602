"""Weights from elsewhere."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.run.run_training import get_trainer_from_args
from stock import (
    CHAIN_TRAINERS,
    COLLECTION_TRAINERS,
    PLANS,
    check_trained,
    log_of,
    model_folder,
    prepare,
    read_checkpoint,
    run_folder,
    train,
    trained,
    variant,
)

from nnunet_ext.errors import UserError

pytestmark = pytest.mark.slow
STANDS_STILL = {"initial_lr": 1e-12}  # a trained network keeps the weights that it started from
OTHER_IN_COLLECTIONS = ("encoder.stages.0.0.convs.0.", "decoder.transpconvs.0.")  # stems; the prompt's channel
OTHER_CLASSES = (
    "knob 'init_from': expected the network of these plans and labels, found '"  # of a chain: its heads stay
)
ENCODER_AND_DECODER = ("encoder.", "decoder.stages.", "decoder.transpconvs.")


@functools.cache
def stock_checkpoint() -> Path:
    """Train nnU-Net's own trainer on the plain phantoms; its loop is shortened, nothing else."""
    number = str(prepare("plain"))
    trainer = get_trainer_from_args(number, "3d_fullres", 0, "nnUNetTrainer", PLANS, False, torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 1, 2, 1
    trainer.run_training()
    return model_folder("nnUNetTrainer", "plain", "3d_fullres") / "fold_0" / "checkpoint_final.pth"


def weights(file: Path) -> dict[str, torch.Tensor]:
    """Return a checkpoint's weights."""
    return read_checkpoint(file)["network_weights"]


@pytest.mark.row("-pretrained_weights of the same trainer, other classes")
def test_pretrained_weights(trainer: str, refuses: Any) -> None:
    source = trained(trainer, "plain", "3d_fullres") / "checkpoint_final.pth"
    plans = variant(trainer, "regions", "LitePretrained", **STANDS_STILL)
    if trainer in CHAIN_TRAINERS:
        with refuses(UserError, match=OTHER_CLASSES):
            train(trainer, "regions", "3d_fullres", 0, "-pretrained_weights", source, plans=plans)
        return
    fold = train(trainer, "regions", "3d_fullres", 0, "-pretrained_weights", source, plans=plans)
    check_trained(fold)
    before, after = weights(source), weights(fold / "checkpoint_final.pth")
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        if ".seg_layers." in name:
            if trainer not in COLLECTION_TRAINERS:  # there the companion makes up for the class
                assert tensor.shape[0] == 3 == before[name].shape[0] - 1, name
        else:
            torch.testing.assert_close(tensor, before[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.row("-pretrained_weights of stock nnU-Net, other classes")
def test_stock_pretrained_weights(trainer: str, refuses: Any) -> None:
    """All or nothing: a network with tensors of its own cannot take them. For that there is ``init_from``."""
    source = stock_checkpoint()
    own = weights(trained(trainer, "plain", "3d_fullres") / "checkpoint_final.pth").keys() - weights(source).keys()
    plans = variant(trainer, "regions", "LiteStockPretrained", **STANDS_STILL)
    words = (trainer, "regions", "3d_fullres", 0, "-pretrained_weights", source)
    if trainer in CHAIN_TRAINERS:
        with refuses(UserError, match=OTHER_CLASSES):
            train(*words, plans=plans)
    elif any(".seg_layers." not in name for name in own):
        with refuses(AssertionError, match=r"Key \S+ is missing in the pretrained model weights"):
            train(*words, plans=plans)
    else:
        check_trained(train(*words, plans=plans))


@pytest.mark.row("knob init_from with a checkpoint of stock nnU-Net")
def test_init_from(trainer: str) -> None:
    source = stock_checkpoint()
    plans = variant(trainer, "plain", "LiteInitFrom", init_from=str(source), **STANDS_STILL)
    fold = train(trainer, "plain", "3d_fullres", plans=plans)
    check_trained(fold)
    before, after = weights(source), weights(fold / "checkpoint_final.pth")
    run = run_folder(trainer, "plain", "3d_fullres", plans) / "fold_0"
    told = json.loads((run / "init_from.json").read_text())["tensors"]
    taken = {fate["source"] for fate in told if fate["kind"] in ("loaded", "mapped")}
    names = {fate["tensor"] for fate in told} | taken
    assert names == before.keys() | after.keys(), "a tensor whose fate is not told"
    logged = re.findall(r"^(?:.*: )?(?:loaded|mapped|fresh|unused) +(\S+) ", log_of(run), re.MULTILINE)
    assert logged == [fate["tensor"] for fate in told]
    new = OTHER_IN_COLLECTIONS if trainer in COLLECTION_TRAINERS else ()
    filled = [name for name in before if name.startswith(ENCODER_AND_DECODER) and not name.startswith(new)]
    assert len(filled) > 20
    for name in filled:
        torch.testing.assert_close(after[name], before[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.row(
    "knob init_from, other classes: the segmentation heads stay new",
    of="datasets",
    why="UniSeg's heads belong to no task, MultiHead's follow their task",
)
def test_init_from_other_classes(trainer: str, refuses: Any) -> None:
    source = stock_checkpoint()
    plans = variant(trainer, "regions", "LiteInitFrom", init_from=str(source), **STANDS_STILL)
    if trainer in CHAIN_TRAINERS:
        with refuses(UserError, match=OTHER_CLASSES):
            train(trainer, "regions", "3d_fullres", plans=plans)
        return
    fold = train(trainer, "regions", "3d_fullres", plans=plans)
    check_trained(fold)
    misfits = re.findall(
        r"^fresh +(\S+) .*: labels \(softmax\) in the file, regions \(sigmoid\) here$", log_of(fold), re.MULTILINE
    )
    assert misfits
    assert all(".seg_layers." in name for name in misfits)


@pytest.mark.row("knob init_from is left alone by --c", pretraining=True)
def test_init_from_and_continue(trainer: str) -> None:
    """Continuing goes on from the run's own checkpoint, not from the source again."""
    plans = variant(trainer, "plain", "LiteInitFromC", init_from=str(stock_checkpoint()))
    fold = train(trainer, "plain", "3d_fullres", plans=plans)
    before = weights(fold / "checkpoint_final.pth")
    train(trainer, "plain", "3d_fullres", 0, "--c", plans=plans)
    after = weights(fold / "checkpoint_final.pth")
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


@pytest.mark.row("knob init_from with a file that is missing", pretraining=True)
def test_init_from_nothing(trainer: str, refuses: Any, root: Path) -> None:
    nothing = root / "raw" / "nothing.pth"
    plans = variant(trainer, "plain", "LiteInitFromNothing", init_from=str(nothing))
    with refuses(UserError, match="knob 'init_from': expected an nnU-Net checkpoint, found no file"):
        train(trainer, "plain", "3d_fullres", plans=plans)
    assert not list(run_folder(trainer, "plain", "3d_fullres", plans).glob("fold_0/*.pth"))
