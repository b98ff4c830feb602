"""MC-Net+ on a small dataset: a step, the ramp, and a run that was killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.errors import UserError
from nnunet_ext.methods.mc_net_plus.trainer import MCNetPlusTrainer

Make = Callable[..., Any]


def ready(half_labelled: Make, *arguments: Any, **knobs: Any) -> tuple[MCNetPlusTrainer, dict[str, Any]]:
    trainer = half_labelled(MCNetPlusTrainer, *arguments, **knobs)
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
def test_a_step(half_labelled: Make, labels: str, configuration: str):
    knobs = {
        "unlabelled": {"batch_size": 3, "ramp": 0},
        "mc_net_plus": {"supervised_weight": 0.25, "consistency_weight": 2},
    }
    trainer, batch = ready(half_labelled, configuration, labels=labels, **knobs)
    output = trainer.train_step(batch)
    assert set(output) == {"loss", "supervised_loss", "consistency_loss"}
    total = 0.25 * output["supervised_loss"] + 2 * output["consistency_loss"]
    assert output["loss"] == pytest.approx(total, rel=1e-5)
    assert output["consistency_loss"] > 0


def test_the_weight_grows(half_labelled: Make):
    trainer, batch = ready(half_labelled, unlabelled={"ramp": 1.0}, mc_net_plus={"consistency_weight": 100})
    output = trainer.train_step(batch | {"step": 3})
    weight = 100 * 0.2865048  # 3 of 6 steps
    total = 0.5 * output["supervised_loss"] + weight * output["consistency_loss"]
    assert output["loss"] == pytest.approx(total, rel=1e-4)


def test_knobs_reach_network_and_loss(half_labelled: Make):
    trainer, _ = ready(half_labelled, mc_net_plus={"dropout": 0.25, "temperature": 0.5, "detach": False})
    assert trainer.network.dropout.p == 0.25
    assert (trainer.loss.temperature, trainer.loss.detach) == (0.5, False)


@pytest.mark.parametrize("knob", [{"dropout": 1}, {"temperature": 0}, {"detach": 2}, {"supervised_weight": 0}])
def test_illegal_knobs_are_refused(half_labelled: Make, knob):
    with pytest.raises(UserError, match=rf"knob 'mc_net_plus\.{next(iter(knob))}' expects"):
        half_labelled(MCNetPlusTrainer, mc_net_plus=knob)


def test_plans_of_another_network_are_refused(half_labelled: Make):
    trainer = half_labelled(MCNetPlusTrainer)
    architecture = trainer.configuration_manager.configuration["architecture"]
    architecture["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualUNet"
    architecture["arch_kwargs"]["n_blocks_per_stage"] = architecture["arch_kwargs"].pop("n_conv_per_stage")
    with pytest.raises(UserError, match="expected plans of a PlainConvUNet or ResidualEncoderUNet, got ResidualUNet"):
        trainer.initialize()


def test_validation_is_the_supervised_loss_of_the_first_decoder(half_labelled: Make):
    trainer, batch = ready(half_labelled)
    trainer.network.eval()
    with torch.no_grad():
        found = trainer.validation_step(batch)["loss"]
        expected = trainer.loss.supervised(trainer.network(batch["data"]), batch["target"])
    assert float(found) == pytest.approx(expected.item())
