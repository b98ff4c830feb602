"""Domain randomisation on a small dataset: the control, what is refused, and a run that was killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killed_training import train_until_killed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunet_ext.errors import UserError
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer
from nnunet_ext.methods.domain_randomisation.trainer import DomainRandomisationTrainer
from nnunet_ext.processes.ranks import Ranks

Make = Callable[..., Any]
TRID = {"image": "none", "features": "trid"}
FORMS: dict[str, dict[str, Any]] = {
    "gin": {},
    "histogram": {"image": "histogram"},
    "trid": TRID,
    "trid of a fixed range": TRID | {"range": [0, 1]},
    "next stage only": TRID | {"skip": False},
    "efdmix": {"image": "none", "features": "efdmix"},
    "mixstyle and gin": {"features": "mixstyle"},
}


def ready(half_labelled: Make, *arguments: Any, own: dict[str, Any], **knobs: Any) -> tuple[Any, dict[str, Any]]:
    trainer = half_labelled(DomainRandomisationTrainer, *arguments, domain_randomisation=own, **knobs)
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    trainer.on_train_epoch_start()
    return trainer, next(trainer.get_dataloaders()[0])


def losses(trainer: Any) -> list[Any]:
    return [trainer.logger.get_value(name, step=None) for name in ("train_losses", "val_losses", "mean_fg_dice")]


def trained(trainer: Any) -> Any:
    trainer.run_training()
    return trainer


@pytest.mark.parametrize(
    ("form", "configuration"), [*((form, "3d_fullres") for form in FORMS), ("mixstyle and gin", "2d"), ("trid", "2d")]
)
def test_a_step(half_labelled: Make, form: str, configuration: str) -> None:
    own = FORMS[form] | {"p": 1.0}
    trainer, batch = ready(half_labelled, configuration, own=own)
    plain = half_labelled(NNUNetBaselineTrainer, configuration)
    plain.initialize()
    plain.set_deep_supervision_enabled(True)
    assert list(trainer.network.state_dict()) == list(plain.network.state_dict())
    given = batch["data"].clone()
    mine, theirs = trainer.train_step(batch)["loss"], plain.train_step(batch)["loss"]
    assert np.isfinite(mine)
    assert mine != theirs  # the same weights and data
    assert torch.equal(batch["data"], given)


@pytest.mark.parametrize("form", ["mixstyle and gin", "trid", "next stage only"])
def test_evaluation_is_stock(half_labelled: Make, form: str) -> None:
    trainer, batch = ready(half_labelled, own=FORMS[form] | {"p": 1.0})
    plain = half_labelled(nnUNetTrainer)
    plain.initialize()
    plain.network.load_state_dict(trainer.network.state_dict())
    plain.set_deep_supervision_enabled(True)
    trainer.network.eval(), plain.network.eval()
    with torch.no_grad():
        for mine, theirs in zip(trainer.network(batch["data"]), plain.network(batch["data"]), strict=True):
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("own", [{"p": 0, "features": "trid"}, {"image": "none"}], ids=str)
def test_without_a_change_it_is_the_control(half_labelled: Make, own: dict[str, Any]) -> None:
    mine = trained(half_labelled(DomainRandomisationTrainer, run="mine", num_epochs=1, domain_randomisation=own))
    theirs = trained(half_labelled(NNUNetBaselineTrainer, run="theirs", num_epochs=1))
    assert losses(mine) == losses(theirs)
    for name, tensor in theirs.network.state_dict().items():
        assert torch.equal(mine.network.state_dict()[name], tensor), name
    (log,) = Path(mine.output_folder).glob("training_log_*.txt")
    assert "nothing is changed" in log.read_text()


@pytest.mark.parametrize("form", ["mixstyle and gin", "trid"])
def test_a_killed_run_that_is_continued_is_the_uninterrupted_one(half_labelled: Make, form: str) -> None:
    knobs = {"domain_randomisation": FORMS[form]}
    whole = trained(half_labelled(DomainRandomisationTrainer, run="whole", **knobs))
    train_until_killed(half_labelled(DomainRandomisationTrainer, run="killed", **knobs), epoch=1)
    again = half_labelled(DomainRandomisationTrainer, run="killed", continued=True, **knobs)
    again.load_checkpoint(str(Path(again.output_folder) / "checkpoint_latest.pth"))
    if form == "trid":
        assert [len(change.range.state()) for change in again._changes] == [3, 3]
    again.run_training()
    assert losses(again) == losses(whole)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor), name


def test_the_checkpoint_holds_the_styles_and_no_weights(half_labelled: Make) -> None:
    trainer = trained(half_labelled(DomainRandomisationTrainer, num_epochs=1, domain_randomisation=TRID))
    file = Path(trainer.output_folder) / "checkpoint_final.pth"
    saved = torch.load(file, weights_only=False)
    (of_rank,) = saved["nnunet_ext"]["domain_randomisation"]
    assert [len(of_stage) for of_stage in of_rank] == [3, 3]
    assert of_rank[0][0].shape == (2, 2 * 8)  # means and standard deviations; batch x channels
    stock = half_labelled(nnUNetTrainer)
    stock.initialize()
    assert list(saved["network_weights"]) == list(stock.network.state_dict())


def test_the_range_goes_on_across_epochs(half_labelled: Make) -> None:
    trainer = trained(half_labelled(DomainRandomisationTrainer, domain_randomisation=TRID))
    assert [len(change.range.state()) for change in trainer._changes] == [6, 6]


def test_the_epochs_draw_other_numbers(half_labelled: Make) -> None:
    trainer, _ = ready(half_labelled, own={})
    first = trainer._changes[0].generator.random(3)
    trainer.current_epoch = 1
    trainer.on_train_epoch_start()
    assert not (trainer._changes[0].generator.random(3) == first).any()


def test_ranks_draw_other_numbers_and_go_on_with_their_own_styles(
    half_labelled: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, _ = ready(half_labelled, own=TRID)
    first = trainer._changes[0].generator.random(3)
    monkeypatch.setattr(Ranks, "now", lambda: Ranks(1, 2))
    generator = trainer._new_generator()
    assert not (generator.random(3) == first).any()
    of_ranks = [[[torch.full((2, 4), float(rank))]] * 2 for rank in range(2)]
    trainer.load_extra_state({"domain_randomisation": of_ranks})
    assert [float(change.range.state()[0].mean()) for change in trainer._changes] == [1, 1]
    assert trainer.extra_state()["domain_randomisation"] == of_ranks
    trainer.load_extra_state({})  # of a checkpoint without them
    assert [change.range.state() for change in trainer._changes] == [[], []]


def test_stages_of_each_kind(half_labelled: Make) -> None:
    def hooked(**own: Any) -> list[int]:
        trainer, _ = ready(half_labelled, own={"image": "none"} | own)
        stages = trainer.network.encoder.stages
        return [number for number, stage in enumerate(stages) if stage._forward_hooks or stage._forward_pre_hooks]

    assert hooked(features="trid") == [0, 1]
    assert hooked(features="efdmix") == [1]
    assert hooked(features="mixstyle", stages=[2]) == [2]
    assert hooked(features="trid", skip=False) == [1, 2]


def test_without_the_skip_the_decoder_sees_the_features_as_they_were(half_labelled: Make) -> None:
    seen: dict[bool, list[torch.Tensor]] = {}
    for skip in (True, False):
        trainer, batch = ready(half_labelled, own=TRID | {"p": 1.0, "stages": [0], "skip": skip})
        features: list[torch.Tensor] = []
        trainer.network.decoder.register_forward_pre_hook(lambda _, given, kept=features: kept.extend(given[0]))
        with torch.no_grad():
            trainer.network(batch["data"])
            changed = list(features)
            features.clear()
            trainer.network.eval()(batch["data"])
        seen[skip] = [torch.equal(one, other) for one, other in zip(changed, features, strict=True)]
    assert seen[True][:2] == [False, False]
    assert seen[False][:2] == [True, False]


def test_partners_from_other_sites(half_labelled: Make) -> None:
    own = {"image": "none", "features": "mixstyle", "partners": "other_site", "p": 1.0}
    make = partial(half_labelled, DomainRandomisationTrainer, domain_randomisation=own)
    file = Path(make().preprocessed_dataset_folder_base) / "splits_final.json"
    assert "expected the sites of all training cases, and at least two of them" in refusal(make())
    cases = [f"case_{number:03d}" for number in range(5)]
    sites = {"Bern": cases[:1], "Genf": cases[1:3], "Oslo": cases[3:]}
    folds = [
        {"site": site, "train": [case for case in cases if case not in own], "val": own} for site, own in sites.items()
    ]
    file.write_text(json.dumps(folds[:2]))
    assert "expected the sites of all training cases" in refusal(make())
    file.write_text(json.dumps(folds))
    trainer = make()
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    batch = next(trainer.get_dataloaders()[0])
    for keys, expected in ((cases[1:4:2], ["Genf", "Oslo"]), (cases[1:3], ["Genf", "Genf"])):
        trainer.train_step(batch | {"keys": keys})
        assert [change.sites for change in trainer._changes] == [expected] * 2


def refusal(trainer: Any) -> str:
    with pytest.raises(UserError) as caught:
        trainer.initialize()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["mixstyle", "efdmix"])
def test_a_batch_of_one_has_no_partner(half_labelled: Make, kind: str) -> None:
    trainer = half_labelled(DomainRandomisationTrainer, domain_randomisation={"features": kind})
    trainer.configuration_manager.configuration["batch_size"] = 1
    assert f"features={kind}: expected batches of at least 2 samples on each GPU" in refusal(trainer)


@pytest.mark.parametrize("own", [{}, TRID | {"p": 1.0}], ids=str)
def test_a_batch_of_one_works(half_labelled: Make, own: dict[str, Any]) -> None:
    trainer = half_labelled(DomainRandomisationTrainer, domain_randomisation=own)
    trainer.configuration_manager.configuration["batch_size"] = 1
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    batch = next(trainer.get_dataloaders()[0])
    assert len(batch["data"]) == 1
    assert np.isfinite(trainer.train_step(batch)["loss"])


def test_a_stage_that_is_not_there(half_labelled: Make) -> None:
    own = TRID | {"stages": [9]}
    assert "expected stages below " in refusal(half_labelled(DomainRandomisationTrainer, domain_randomisation=own))
    trainer, _ = ready(half_labelled, own={})
    last = len(trainer.network.encoder.stages) - 1
    ready(half_labelled, own=TRID | {"stages": [last]})
    own = TRID | {"stages": [last], "skip": False}
    text = refusal(half_labelled(DomainRandomisationTrainer, domain_randomisation=own))
    assert f"expected stages below {last}, after which the encoder has another one, got {last}" in text


def test_a_network_without_stages(half_labelled: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv3d(1, 4, 1)

    monkeypatch.setattr(DomainRandomisationTrainer, "build_network_architecture", staticmethod(lambda *_: Other()))
    trainer = half_labelled(DomainRandomisationTrainer, domain_randomisation=TRID)
    assert "expected a U-Net of nnU-Net, whose encoder has stages, found Other. Set it to none." in refusal(trainer)
    half_labelled(DomainRandomisationTrainer).initialize()  # images of any network
