"""What planners count of each network is what its training keeps, relative to stock nnU-Net."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
from kept_for_backward import kept_for_backward
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from small_unet import small_unet
from torch import Tensor, nn

from nnunet_ext import sockets
from nnunet_ext.collection.network.dodnet import DoDNet
from nnunet_ext.collection.network.task_network import TaskNetwork
from nnunet_ext.methods.ba_net.architecture import BANet
from nnunet_ext.methods.cotr.architecture import CoTr
from nnunet_ext.methods.lefed.architecture import Fed, LeFeD, LeFeDOutput
from nnunet_ext.methods.lefed.loss import LeFeDLoss, LeFeDStep
from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlus
from nnunet_ext.methods.mc_net_plus.loss import MCNetPlusLoss, MCNetPlusStep
from nnunet_ext.methods.multi_head.architecture import MultiHead
from nnunet_ext.methods.raters.architecture import RaterOutput, RaterUNet
from nnunet_ext.methods.sequential_fine_tuning.architecture import Features, FeatureUNet
from nnunet_ext.methods.sequential_fine_tuning.loss import RetentionLoss, RetentionStep
from nnunet_ext.methods.transdodnet.architecture import TransDoDNet
from nnunet_ext.methods.uniseg.architecture import UniSeg
from nnunet_ext.methods.versemi.architecture import VerSemi

TOLERANCE = 0.06  # of the ratio to stock
CLASSES, HEAD_WIDTH = 3, 8
FORMS: dict[str, dict[str, Any]] = {  # as nnU-Net plans them, at full width
    "plain 3d": {
        "patch": (128, 128, 128),
        "strides": [[1] * 3] + [[2] * 3] * 5,
        "features": (32, 64, 128, 256, 320, 320),
    },
    "plain 3d, 12 classes": {
        "patch": (64, 64, 64),
        "strides": [[1] * 3] + [[2] * 3] * 3,
        "features": (32, 64, 128, 256),
        "classes": 12,
    },
    "resenc 3d anisotropic": {
        "patch": (16, 128, 128),
        "strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2]],
        "features": (32, 64, 128, 256, 320),
        "kind": "resenc",
    },
    "plain 2d": {"patch": (256, 256), "strides": [[1, 1]] + [[2, 2]] * 5, "features": (32, 64, 128, 256, 512, 512)},
}


def unet(form: str, classes: int | None = None, deep_supervision: bool = True) -> nn.Module:
    """Two convolutions a stage, or residual blocks 1, 3, 4, 6, 6 with one."""
    options = {name: value for name, value in FORMS[form].items() if name not in ("patch", "classes")}
    stages = len(options["strides"])
    resenc = options.get("kind") == "resenc"
    return small_unet(
        convolutions=(1, 3, 4, 6, 6)[:stages] if resenc else [2] * stages,
        decoder_convolutions=[1 if resenc else 2] * (stages - 1),
        classes=classes or FORMS[form].get("classes", CLASSES),
        deep_supervision=deep_supervision,
        **options,
    )


def supervised(logits: Tensor | list[Tensor], target: Tensor | None = None) -> Tensor:
    """nnU-Net's loss, over all scales but the lowest, whose weight is 0."""
    if isinstance(logits, list):
        return sum((supervised(scale) for scale in logits[:-1]), torch.zeros(()))
    loss = DC_and_CE_loss(
        {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}, {}, dice_class=MemoryEfficientSoftDiceLoss
    )
    return loss(logits, target_of(logits) if target is None else target)


def target_of(logits: Tensor) -> Tensor:
    return torch.zeros(len(logits), 1, *logits.shape[2:])


class Supervised(nn.Module):
    """The same as a module."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return supervised(logits, target)


def lefed_loss(output: LeFeDOutput, **options: Any) -> Tensor:
    return LeFeDLoss(Supervised(), regions=False, **options)(output, LeFeDStep(target_of(output.first)))


def raters_loss(output: RaterOutput) -> Tensor:
    opinions = output.opinions
    if opinions is None:
        return sum((supervised(rater) for rater in output.raters), supervised(output.consensus))
    means = [(opinions.mean, opinions.sigma), *zip(opinions.raters, opinions.sigmas, strict=True)]
    return sum((supervised(mean + sigma) for mean, sigma in means), supervised(output.consensus))


def features_loss(output: Features) -> Tensor:
    step = RetentionStep(torch.empty(0), [torch.ones_like(stage) for stage in output.stages], [], 1.0)
    return RetentionLoss(Supervised())(output, step)


def with_feedback(form: str, images: Tensor) -> Fed:
    size, feedback = list(images.shape[2:]), []
    for features, strides in zip(FORMS[form]["features"], FORMS[form]["strides"], strict=True):
        size = [length // step for length, step in zip(size, strides, strict=True)]
        feedback.append(torch.empty(len(images), features, *size))
    return Fed(images, feedback)


def of_tasks(kind: type[TaskNetwork], form: str, classes: int = CLASSES, **options: Any) -> TaskNetwork:
    network = kind(unet(form, classes), heads=(CLASSES, 2), channels=(1,), **options)  # type: ignore[call-arg]
    network.set_sample_tasks([0])
    return network


def stock(form: str) -> nn.Module:
    return unet(form)


Row = tuple[Callable[[str], nn.Module], Callable[[Any], Tensor]]
ROWS: dict[str, Row] = {
    "stock": (stock, supervised),
    "BA-Net": (lambda form: BANet(unet(form)), lambda both: supervised(both.segmentation) + supervised(both.boundary)),
    "CoTr": (lambda form: CoTr(unet(form)), supervised),
    "LeFeD": (
        lambda form: LeFeD(unet(form, deep_supervision=False)),
        lefed_loss,
    ),
    "LeFeD, side heads at full size": (
        lambda form: LeFeD(unet(form, deep_supervision=False), side_at_full_size=True),
        lambda output: LeFeDLoss(Supervised(), regions=False, side_at_full_size=True)(
            output, LeFeDStep(target_of(output.first))
        ),
    ),
    "MC-Net+": (
        lambda form: MCNetPlus(unet(form, deep_supervision=False)),
        lambda output: MCNetPlusLoss(Supervised(), regions=False)(output, MCNetPlusStep(target_of(output.logits[0]))),
    ),
    "raters": (lambda form: RaterUNet(unet(form), 3), raters_loss),
    "raters, PADL": (lambda form: RaterUNet(unet(form), 3, preferences=True), raters_loss),
    "sequential fine-tuning": (lambda form: FeatureUNet(unet(form)), features_loss),
    "UniSeg": (lambda form: of_tasks(UniSeg, form, patch_size=FORMS[form]["patch"]), supervised),
    "DoDNet": (lambda form: of_tasks(DoDNet, form, HEAD_WIDTH), supervised),
    "VerSemi": (lambda form: of_tasks(VerSemi, form, HEAD_WIDTH), supervised),
    "TransDoDNet": (lambda form: of_tasks(TransDoDNet, form), supervised),
    "multi-head": (lambda form: of_tasks(MultiHead, form, CLASSES + 2), supervised),
}
NETWORK_OF = {
    "BANetTrainer": "BA-Net",
    "BCPTrainer": "stock",
    "CoTrTrainer": "CoTr",
    "DoDNetTrainer": "DoDNet",
    "DomainRandomisationTrainer": "stock",
    "FineTuneTrainer": "stock",
    "LeFeDTrainer": "LeFeD",
    "MCNetPlusTrainer": "MC-Net+",
    "MaskedAutoencoderTrainer": "stock",
    "MeanTeacherTrainer": "stock",
    "MultiHeadTrainer": "multi-head",
    "NNUNetBaselineTrainer": "stock",
    "PseudoLabelTrainer": "stock",
    "RatersTrainer": "raters",
    "SelfTrainingTrainer": "stock",
    "SequentialFineTuningTrainer": "sequential fine-tuning",
    "TransDoDNetTrainer": "TransDoDNet",
    "UniSegTrainer": "UniSeg",
    "VerSemiTrainer": "VerSemi",
}


def test_every_trainer_has_its_network_here():
    differing = sorted({*NETWORK_OF} ^ {*sockets.names("trainers")})
    assert differing == [], (
        f"NETWORK_OF: expected one line for each file in trainers/, got {differing} on one side only. Add the trainer: "
        f"'stock' if its network is nnU-Net's, else the name of a new row of ROWS."
    )
    assert set(NETWORK_OF.values()) <= set(ROWS)


@cache
def kept(name: str, form: str) -> float:
    network, loss = ROWS[name]
    images = partial(with_feedback, form) if name.startswith("LeFeD") else lambda images: images
    return kept_for_backward(lambda: network(form), FORMS[form]["patch"], loss, images=images)


def counted(name: str, form: str) -> float:
    with torch.device("meta"):
        return float(ROWS[name][0](form).compute_conv_feature_map_size(FORMS[form]["patch"]))


FEW = ("LeFeD", "LeFeD, side heads at full size")
CASES = [(name, "plain 3d") for name in ROWS if name != "stock"]
CASES += [(name, "plain 3d, 12 classes") for name in (*FEW, "MC-Net+")]
CASES += [(name, "resenc 3d anisotropic") for name in ("BA-Net", "LeFeD", "MC-Net+")]
CASES += [("LeFeD", "plain 2d")]


@pytest.mark.parametrize(("name", "form"), CASES)
def test_a_network_counts_what_training_keeps_relative_to_stock(name, form):
    ours, theirs = (kept(name, form) / kept("stock", form), counted(name, form) / counted("stock", form))
    assert theirs == pytest.approx(ours, rel=TOLERANCE)


def test_the_measure_by_hand():
    """The measure itself: storages count once, views and parameters do not, and what is not saved counts not at all."""

    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, 2, 1, 1))

        def forward(self, images: Tensor) -> Tensor:
            raised = (images + self.weight).relu()  # saved: the result, 2 channels
            return (raised.view_as(raised) + 1).sum(1, keepdim=True)  # 1 channel, returned

    bytes_of_sample = kept_for_backward(Doubled, (4, 8), lambda output: output)
    assert bytes_of_sample == 4 * 8 * 4 * (1 + 2 + 1)
