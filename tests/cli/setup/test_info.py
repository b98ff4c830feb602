"""``nnunet_ext info``: everything that the cards and the knobs say, and nothing that is not there."""

import json

import pytest

from nnunet_ext import __version__, sockets
from nnunet_ext.base.method import methods
from nnunet_ext.cli.main import main

pytestmark = pytest.mark.smoke


def test_cards_and_sockets_agree():
    cards = methods().values()
    for kind in ("trainers", "planners"):
        named = sorted(name for card in cards for name in getattr(card, kind))
        differing = sorted({*named} ^ {*sockets.names(kind)})
        assert named == sockets.names(kind), (
            f"expected one file in {kind}/ for each of the {kind} that a card names, got {differing} on one side only"
        )
    assert {key: card.key for key, card in methods().items()} == {key: key for key in methods()}


def test_json(capsys):
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == __version__
    assert {
        "name": "num_epochs",
        "default": 1000,
        "expected": "an integer >= 1",
        "help": "length of the training, in epochs",
    } in (found["knobs"])
    ba_net = found["methods"]["ba_net"]
    assert ba_net["title"] == "BA-Net"
    assert ba_net["trainers"] == ["BANetTrainer"]
    assert ba_net["planners"] == ["BANetPlanner", "BANetResEncMPlanner", "BANetResEncLPlanner"]
    assert [knob["name"] for knob in ba_net["knobs"]][:2] == ["boundary_loss_weight", "boundary_width"]
    assert len(ba_net["papers"]) == 3
    assert "ignore label" in ba_net["supports"]
    assert found["methods"]["fine_tune"]["recipe_with"]["AdamW"]["initial_lr"] == 1e-4


def test_methods_for_unlabelled_images_say_so():
    from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer

    for card in methods().values():
        for name in card.trainers:
            semi_supervised = issubclass(sockets.load("trainers", name), SemiSupervisedTrainer)
            assert ("unlabelled images" in card.supports) == semi_supervised, name


def test_text(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for card in methods().values():
        words = (card.title, card.summary, *card.trainers, *card.planners, *card.papers, *card.supports)
        assert [word for word in words if word not in text] == []
    assert "    optimizer=\"SGD\"                  'SGD', 'PlainSGD' or 'AdamW'; SGD is nnU-Net's own" in text
    assert "    ba_net.boundary_width=3          an odd integer >= 3; " in text
    assert "            initial_lr=0.0001 warm_up=0.1 num_epochs=150; if they name AdamW\n" in text
