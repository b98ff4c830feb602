"""LeFeD on a small dataset: inner passes, feedback, and a run that was killed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn
from torch.nn import functional

from nnunet_ext.errors import UserError
from nnunet_ext.methods.lefed.architecture import LeFeD
from nnunet_ext.methods.lefed.loss import SquaredDice
from nnunet_ext.methods.lefed.trainer import LeFeDTrainer

Make = Callable[..., Any]
NO_DROPOUT = {"bottleneck_dropout": 0, "head_dropout": 0}


def ready(half_labelled: Make, *arguments: Any, **knobs: Any) -> tuple[LeFeDTrainer, dict[str, Any]]:
    trainer = half_labelled(LeFeDTrainer, *arguments, **knobs)
    trainer.initialize()
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    trainer.network.train()
    return trainer, next(trainer.get_dataloaders()[0])


def test_encoder_and_decoder_are_the_plans_own(half_labelled: Make):
    trainer, _ = ready(half_labelled)
    plain = half_labelled(nnUNetTrainer)
    plain.initialize()
    own = [name for name in trainer.network.state_dict() if name.startswith(("encoder.", "decoder."))]
    assert own == list(plain.network.state_dict())


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("labels", ["plain", "ignore", "regions ignore"])
@pytest.mark.parametrize("supervised", ["dice_and_ce", "squared_dice"])
def test_a_step(half_labelled: Make, labels: str, configuration: str, supervised: str):
    knobs = {"unlabelled": {"batch_size": 3}, "lefed": {"consistency_weight": 0.5, "supervised_loss": supervised}}
    trainer, batch = ready(half_labelled, configuration, labels=labels, **knobs)
    output = trainer.train_step(batch)
    assert set(output) == {"loss", "supervised_loss", "side_loss", "consistency_loss"}
    total = output["supervised_loss"] + output["side_loss"] + 0.5 * output["consistency_loss"]
    assert output["loss"] == pytest.approx(total, rel=1e-5)
    assert output["consistency_loss"] > 0
    assert isinstance(trainer.loss.supervised, SquaredDice) == (supervised == "squared_dice")


def test_each_pass_steps_and_gets_the_feedback_of_the_one_before(half_labelled: Make, monkeypatch):
    trainer, batch = ready(half_labelled)
    images, given, left, steps = [], [], [], []
    trainer.network.register_forward_pre_hook(lambda _, inputs: images.append(inputs[0].images))
    trainer.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].feedback))
    trainer.network.register_forward_hook(lambda _, __, output: left.append(output.feedback))
    step = trainer.optimizer.step
    monkeypatch.setattr(trainer.optimizer, "step", lambda: steps.append(len(left)) or step())
    for _ in range(2):
        trainer.train_step(batch)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert given[0] is None
    assert given[3] is None
    for before, after in ((0, 1), (1, 2), (3, 4), (4, 5)):
        for fed, expected in zip(given[after], left[before], strict=True):
            assert fed is expected
            assert fed.abs().sum() > 0
    assert all(torch.equal(each, torch.cat((batch["data"], batch["unlabelled"]))) for each in images)


def test_the_number_of_passes_is_a_knob(half_labelled: Make):
    trainer, batch = ready(half_labelled, lefed={"passes": 5})
    seen = []
    trainer.network.register_forward_hook(lambda *_: seen.append(1))
    trainer.train_step(batch)
    assert len(seen) == 5


def test_feedback_that_is_not_finite_is_dropped(half_labelled: Make):
    trainer, batch = ready(half_labelled, lefed={"passes": 4})
    given = []

    def spoil(_: nn.Module, __: Any, output: Any) -> None:
        if len(given) == 2:
            output.feedback[1][0, 0] = float("nan")

    trainer.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].feedback))
    trainer.network.register_forward_hook(spoil)
    trainer.train_step(batch)
    assert [feedback is None for feedback in given] == [True, False, True, True]
    trainer.train_step(batch)
    assert [feedback is None for feedback in given[4:]] == [True, False, False, False]


def two_decoder_loss(network: LeFeD, images: Tensor, target: Tensor, supervised: nn.Module) -> Tensor:
    """What is left of LeFeD without feedback and dropout, written down plainly."""
    skips = network.encoder(images)
    features, taps = skips[-1], [skips[-1]]
    for upsampling, stage, skip in zip(network.decoder.transpconvs, network.decoder.stages, skips[-2::-1], strict=True):
        raised = upsampling(features)
        taps.append(functional.relu(functional.instance_norm(raised)))
        features = stage(torch.cat((raised, skip), 1))
    first = network.decoder.seg_layers[-1](features)

    gates = [tap.detach().sigmoid() for tap in taps]
    features = skips[-1] * (1 + gates[0])
    for upsampling, stage, skip, gate in zip(
        network.second_decoder.transpconvs, network.second_decoder.stages, skips[-2::-1], gates[1:], strict=True
    ):
        features = stage(torch.cat((upsampling(features), skip * gate), 1))
    second = network.second_decoder.seg_layers[0](features)

    side = torch.zeros(())
    mode = "bilinear" if images.ndim == 4 else "trilinear"
    finer: list[torch.Size] = []
    for weight, head, tap in zip([0.8, 0.6, 0.4, 0.2, 0.1], network.side.seg_layers, taps[::-1], strict=False):
        logits = head(tap)
        for size in reversed(finer):
            logits = functional.interpolate(logits, size, mode=mode, align_corners=True)
        side = side + weight * supervised(logits, target)
        finer.append(tap.shape[2:])
    agreement = (first.softmax(1) - second.softmax(1)).square().sum(1).mean() / 2
    return supervised(first, target) + supervised(second, target) + side + agreement


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("passes", [1, 3])
def test_without_feedback_and_unlabelled_data_it_is_a_two_decoder_supervised_step(
    half_labelled: Make, configuration: str, passes: int
):
    """Weights after the step are equal, bit for bit; several passes are as many steps."""
    lefed = NO_DROPOUT | {"feedback_scale": 0, "passes": passes}
    trainer, batch = ready(half_labelled, configuration, lefed=lefed)
    batch["unlabelled"] = batch["unlabelled"][:0]
    network = copy.deepcopy(trainer.network)
    assert len(network.encoder.stages) <= 5
    optimizer = torch.optim.SGD(network.parameters(), 1e-2, momentum=0.99, weight_decay=3e-5, nesterov=True)
    for _ in range(passes):
        optimizer.zero_grad()
        loss = two_decoder_loss(network, batch["data"], batch["target"], trainer.loss.supervised)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
    assert float(trainer.train_step(batch)["loss"]) == pytest.approx(loss.item(), rel=1e-6)
    for (name, mine), theirs in zip(trainer.network.named_parameters(), network.parameters(), strict=True):
        assert torch.equal(mine, theirs), name


def test_plans_of_another_network_are_refused(half_labelled: Make):
    trainer = half_labelled(LeFeDTrainer)
    architecture = trainer.configuration_manager.configuration["architecture"]
    architecture["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualUNet"
    architecture["arch_kwargs"]["n_blocks_per_stage"] = architecture["arch_kwargs"].pop("n_conv_per_stage")
    with pytest.raises(UserError, match="expected plans of a PlainConvUNet or ResidualEncoderUNet, got ResidualUNet"):
        trainer.initialize()


def test_knobs_reach_the_network(half_labelled: Make):
    knobs = {"own_decoder": True, "mean_of_decoders": True, "feedback_scale": 0.5, "head_dropout": 0.25}
    network = ready(half_labelled, lefed=knobs)[0].network
    assert (network.own_decoder, network.mean_of_decoders, network.feedback_scale) == (True, True, 0.5)
    assert (network.bottleneck_dropout.p, network.head_dropout.p) == (0.0, 0.25)  # 8 features


@pytest.mark.parametrize(
    "lefed", [{"passes": 0}, {"head_dropout": 1}, {"side_weights": []}, {"side_weights": [-1]}, {"own_decoder": "no"}]
)
def test_illegal_knobs_are_refused(half_labelled: Make, lefed):
    with pytest.raises(UserError, match=rf"knob 'lefed\.{next(iter(lefed))}' expects"):
        half_labelled(LeFeDTrainer, lefed=lefed)


def test_validation_is_the_supervised_loss_of_the_first_decoder(half_labelled: Make):
    trainer, batch = ready(half_labelled)
    trainer.network.eval()
    with torch.no_grad():
        found = trainer.validation_step(batch)["loss"]
        expected = trainer.loss.supervised(trainer.network(batch["data"]), batch["target"])
    assert float(found) == pytest.approx(expected.item())
