"""The contract that stock code relies on."""

from __future__ import annotations

import inspect
import pickle
import re
from typing import Any

import children
import numpy as np
import pytest
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from stock import (
    PLANS,
    batch_of_each_task,
    initialized,
    loss_of,
    on_batch,
    prepare_residual_encoder,
    read_model_plans,
    validation_batch,
)
from torch import nn

from nnunet_ext.sockets import names as own_names

CONTRACT = "class"
FORMS = {
    "2d": ("plain", "2d"),
    "3d": ("plain", "3d_fullres"),
    "3d anisotropic": ("anisotropic", "3d_fullres"),
    "3d residual encoder": ("plain", "3d_fullres"),
}
every_form = pytest.mark.parametrize("form", FORMS)


def find(trainer: str) -> type[nnUNetTrainer]:
    """Find a trainer as nnU-Net does."""
    return recursive_find_trainer_class_by_name(trainer)


def plans_of(trainer: str, form: str) -> str:
    """Return the plans' name."""
    return prepare_residual_encoder(trainer, "plain") if "residual" in form else PLANS


def build(trainer: str, form: str, deep_supervision: bool) -> tuple[nn.Module, tuple[int, ...]]:
    """Build the network as the predictor does, 1 channel in, 4 classes out; return it with the patch size."""
    data, configuration = FORMS[form]
    plans = PlansManager(read_model_plans(trainer, data, plans_of(trainer, form)))
    of = plans.get_configuration(configuration)
    torch.manual_seed(0)
    network = find(trainer).build_network_architecture(plans, of, 1, 4, enable_deep_supervision=deep_supervision)
    return network, tuple(of.patch_size)


@pytest.mark.row("found by name, the same class twice", level=CONTRACT, pretraining=True)
def test_found(trainer: str) -> None:
    found = find(trainer)
    assert found is find(trainer)
    assert found.__name__ == trainer
    assert found.__module__.startswith("nnunet_ext.") == (trainer in own_names("trainers"))
    assert "__" not in trainer
    assert not trainer.startswith("_")


@pytest.mark.row("class pickles and survives spawn", level="class", pretraining=True)
def test_pickles(trainer: str) -> None:
    assert pickle.loads(pickle.dumps(find(trainer))) is find(trainer)
    assert children.spawned()[trainer] is find(trainer)


@pytest.mark.row("signatures of __init__ and build_network_architecture", level=CONTRACT, pretraining=True)
def test_signatures(trainer: str) -> None:
    found = find(trainer)
    for name in ("__init__", "build_network_architecture"):
        own, stock = (inspect.signature(getattr(of, name)).parameters.values() for of in (found, nnUNetTrainer))
        assert [(p.name, p.kind, p.default) for p in own] == [(p.name, p.kind, p.default) for p in stock]
    assert isinstance(inspect.getattr_static(found, "build_network_architecture"), (staticmethod, classmethod))


@pytest.mark.row("same names with deep supervision on and off, no buffers, no wrapper names; {form}", level=CONTRACT)
@every_form
def test_state_dict(trainer: str, form: str) -> None:
    with_it, _ = build(trainer, form, True)
    without, _ = build(trainer, form, False)
    assert list(with_it.state_dict()) == list(without.state_dict())
    without.load_state_dict(with_it.state_dict())
    with_it.load_state_dict(without.state_dict())
    assert not list(with_it.buffers())
    assert not any({"module", "_orig_mod"} & set(name.split(".")) for name in with_it.state_dict())


@pytest.mark.row("eval mode gives logits, or their list over the scales; {form}", level=CONTRACT)
@every_form
@torch.no_grad()
def test_output(trainer: str, form: str) -> None:
    network, patch = build(trainer, form, False)
    network.eval()
    images = torch.randn(2, 1, *patch)
    before = images.clone()
    logits = network(images)
    assert logits.shape == (2, 4, *patch)
    torch.testing.assert_close(network(images[1:]), logits[1:], rtol=1e-4, atol=1e-4)  # a case stands alone
    logits += 1
    assert torch.equal(images, before)

    network.decoder.deep_supervision = True
    scales = network(images)
    assert isinstance(scales, list)
    torch.testing.assert_close(scales[0] + 1, logits, rtol=1e-4, atol=1e-4)
    data, configuration = FORMS[form]
    planned = read_model_plans(trainer, data, plans_of(trainer, form))["configurations"][configuration]["architecture"]
    strides = planned["arch_kwargs"]["strides"]
    size = list(patch)
    for output, stride in zip(scales, strides[:-1], strict=True):
        size = [length // step for length, step in zip(size, stride, strict=True)]
        assert output.shape == (2, 4, *size)


@pytest.mark.row("every trained parameter gets a finite gradient from the trainer's own loss; {form}", level=CONTRACT)
@every_form
def test_gradients(trainer: str, form: str) -> None:
    ready, batch = initialized(trainer, *FORMS[form], plans_of(trainer, form))
    for _ in range(2 if ready.strategy == "lora" else 1):  # LoRA's second factor starts with 0, too
        ready.train_step(batch)  # residual encoders start with norms of weight 0, which block what is before them
    ready.optimizer.zero_grad(set_to_none=True)
    for of_task in batch_of_each_task(ready):
        with on_batch(ready, of_task):
            for module in ready.loss.modules():
                if isinstance(module, DeepSupervisionWrapper):
                    module.weight_factors = [1.0] * len(module.weight_factors)  # stock leaves the last scale out
            loss_of(ready, of_task).backward()
    for name, parameter in ready.network.named_parameters():
        if not parameter.requires_grad:  # a head that is there for stock's state dict only; with LoRA, most are frozen
            assert ".seg_layers." in name or ready.strategy == "lora"
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or re.search(r"conv(\.convs\.\d+)?\.bias$", name), (
            name
        )  # an instance norm swallows the bias before it


@pytest.mark.row("steps return the same keys and shapes each time; {form}", level=CONTRACT)
@every_form
def test_steps(trainer: str, form: str) -> None:
    ready, batch = initialized(trainer, *FORMS[form], plans_of(trainer, form))
    first, second = ready.train_step(batch), ready.train_step(batch)
    assert shapes(first) == shapes(second)
    assert float(second["loss"]) != float(first["loss"])
    ready.network.eval()
    with torch.no_grad():
        batch = validation_batch(ready, batch)
        first, second = ready.validation_step(batch), ready.validation_step(batch)
    assert shapes(first) == shapes(second)
    assert shapes(first).keys() >= {"loss", "tp_hard", "fp_hard", "fn_hard"}


def shapes(output: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each thing that a step returns."""
    return {name: np.shape(value) for name, value in output.items()}


@pytest.mark.row("loaders and transforms pickle, as spawned workers need", level=CONTRACT, pretraining=True)
def test_loaders_pickle(trainer: str) -> None:
    ready, _ = initialized(trainer, "plain", "3d_fullres")
    for loader in ready.get_dataloaders():
        copy = pickle.loads(pickle.dumps(loader.data_loader))
        assert next(copy)["data"].shape == next(loader.data_loader)["data"].shape


@pytest.mark.row("the planner's count of feature maps shrinks with the patch; {form}", level=CONTRACT, pretraining=True)
@every_form
def test_feature_map_size(trainer: str, form: str) -> None:
    network, patch = build(trainer, form, True)
    whole, half = (network.compute_conv_feature_map_size([length // part for length in patch]) for part in (1, 2))
    assert int(half) == half
    assert 0 < half <= whole / 2 ** (len(patch) - 1)
